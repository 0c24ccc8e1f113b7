// Which addresses may be called. An event names a host; the host's addresses are looked up and checked here, and the
// call connects to exactly these (see call.js). So no name, no spelling of an address and no second answer of a name
// server leads elsewhere.
import dns from 'node:dns/promises';
import net from 'node:net';
import { Permanent } from './permanent.js';

// Addresses are compared as numbers of 128 bits. An IPv4 address is ::ffff:a.b.c.d, however it is written.
const MAPPED = 0xffffn;

// The number of an IP address, or null if the text is not an IP address.
export function addressNumber(text) {
  text = text.replace(/%.*$/, '');      // the zone of a link-local address
  if (net.isIPv4(text)) return (MAPPED << 32n) | ipv4Number(text);
  if (!net.isIPv6(text)) return null;

  const tail = text.match(/[^:]*\.[^:]*$/);      // ::ffff:1.2.3.4
  if (tail) {
    const number = ipv4Number(tail[0]);
    text = text.slice(0, tail.index) + `${(number >> 16n).toString(16)}:${(number & 0xffffn).toString(16)}`;
  }
  const [head, rest] = text.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const groups = rest === undefined ? head : [...head, ...Array(8 - head.length - rest.length).fill('0'), ...rest];
  return groups.reduce((number, group) => (number << 16n) | BigInt(`0x${group}`), 0n);
}

function ipv4Number(text) {
  return text.split('.').reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

// A set of networks, each written as 10.0.0.0/8 or fd00::/8, or as one address.
export class Networks {
  constructor(texts) {
    this.networks = texts.map((text) => {
      const [address, length] = text.split('/');
      const number = addressNumber(address);
      const bits = net.isIPv4(address) ? 32 : 128;

      if (number === null || (length !== undefined && !(/^\d{1,3}$/.test(length) && Number(length) <= bits))) {
        throw new Error(`not a network: "${text}"`);
      }
      const shift = BigInt(bits - Number(length ?? bits));
      return { prefix: number >> shift, shift };
    });
  }

  has(number) {
    return this.networks.some(({ prefix, shift }) => number >> shift === prefix);
  }
}

// The special-purpose addresses of IPv4 (RFC 6890 and its successors), and all that do not belong to a single host.
const IPV4_NOT_PUBLIC = new Networks([
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
  '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24',
  '224.0.0.0/4', '240.0.0.0/4',
]);
// Of IPv6, only 2000::/3 is public (so ::1, fc00::/7, fe80::/10 and ff00::/8 are not), without the parts that are for
// protocols (Teredo), for documentation, or for 6to4, which has an IPv4 address in it.
const IPV6_PUBLIC = new Networks(['2000::/3']);
const IPV6_NOT_PUBLIC = new Networks(['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20']);
const IPV4_MAPPED = new Networks(['::ffff:0:0/96']);
const NAT64 = new Networks(['64:ff9b::/96']);      // leads to the IPv4 address in its last 32 bits

export function isPublic(number) {
  if (NAT64.has(number)) number = (MAPPED << 32n) | (number & 0xffffffffn);
  if (IPV4_MAPPED.has(number)) return !IPV4_NOT_PUBLIC.has(number);
  return IPV6_PUBLIC.has(number) && !IPV6_NOT_PUBLIC.has(number);
}

// The addresses of a host, as { address, family }. If one of them may not be called, none is called: otherwise retries
// could continue until a host that is only sometimes public is.
export async function addressesOf(host, { networks, lookup = dns.lookup }) {
  const found = net.isIP(host)
    ? [{ address: host, family: net.isIP(host) }]
    : await lookup(host, { all: true, verbatim: true });

  if (found.length === 0) throw new Error(`${host} has no address`);
  for (const { address } of found) {
    const number = addressNumber(address);

    if (number === null || !(isPublic(number) || networks.has(number))) {
      throw new Permanent(`the address ${address} of ${host} is not public, and not in PM_SENDER_NETWORKS`);
    }
  }
  return found;
}
