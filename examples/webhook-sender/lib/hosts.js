// The hosts that may be called. Each entry is a name, *.NAME (its subdomains), an address, or * (all), and can have a port;
// without one, the ports 80 and 443 are allowed.
import net from 'node:net';

export class Hosts {
  constructor(entries) {
    this.entries = entries.map((entry) => {
      const match = entry.match(/^(\*|(?:\*\.)?\w(?:[\w.-]*\w)?|\[[0-9a-f:.]+\])(?::(\d{1,5}|\*))?$/i);

      if (!match) throw new Error(`not a host: "${entry}"`);
      return { host: canonical(match[1]), port: match[2] };
    });
  }

  allows(host, port) {
    host = canonical(host);
    return this.entries.some((entry) => fitsHost(entry.host, host) && fitsPort(entry.port, port));
  }
}

function fitsHost(allowed, host) {
  if (allowed.startsWith('*.')) return !net.isIP(host) && host.endsWith(allowed.slice(1));
  return allowed === '*' || allowed === host;
}

function fitsPort(allowed, port) {
  if (allowed === undefined) return port === 80 || port === 443;
  return allowed === '*' || port === Number(allowed);
}

// A host as the URL of an event has it: "Example.COM" and "example.com." are the same, and so are [::1] and [0:0::1].
function canonical(host) {
  if (host.startsWith('*')) return host.toLowerCase();
  return new URL(`http://${host}/`).hostname.replace(/^\[|\]$|\.$/g, '');
}
