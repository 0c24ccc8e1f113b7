// The hosts that may be called. Each entry is a name, *.NAME (its subdomains), an address, or * (all), and can have a port;
// without one, the ports 80 and 443 are allowed.
import net from 'node:net';

export class Hosts {
  constructor(entries) {
    this.entries = entries.map((entry) => {
      const match = entry.match(/^(\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::(\d{1,5}|\*))?$/i);

      if (!match) throw new Error(`not a host: "${entry}"`);
      return { host: canonical(match[1]), port: match[2] };
    });
  }

  allows(host, port) {
    host = canonical(host);
    return this.entries.some((entry) => {
      const hostFits = entry.host === '*' || entry.host === host ||
        (entry.host.startsWith('*.') && !net.isIP(host) && host.endsWith(entry.host.slice(1)));
      const portFits = entry.port === '*' || (entry.port === undefined ? port === 80 || port === 443 : port === Number(entry.port));

      return hostFits && portFits;
    });
  }
}

// A host as the URL of an event has it: "Example.COM" and "example.com." are the same, and so are [::1] and [0:0::1].
function canonical(host) {
  if (host.startsWith('*')) return host.toLowerCase();
  return new URL(`http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}/`).hostname.replace(/^\[|\]$|\.$/g, '');
}
