// Who may talk to the console.
//
// Every program on this machine can reach 127.0.0.1, and every page in the browser can send requests there. So:
// - The address that the console prints has a token. A page exchanges it for two secrets: a cookie, which no script can
//   read, and a key, which the page sends in a header. A cookie alone would not do, because browsers send the cookies
//   of 127.0.0.1 to every port of it, hence to servers of other users. Storage of scripts belongs to one port.
// - Host must name this machine. A page of evil.example whose name has come to mean 127.0.0.1 (DNS rebinding) sends
//   "Host: evil.example". The port is not compared: a tunnel may have another one.
// - Origin and Sec-Fetch-Site, where a browser sends them, must be those of our own page.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

const secret = () => randomBytes(32).toString('base64url');
const digest = (text) => createHash('sha256').update(String(text)).digest();
const equal = (a, b) => timingSafeEqual(digest(a), digest(b));

const hosts = /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?$/iu;

function cookie(request, name) {
  for (const part of (request.headers.cookie ?? '').split(';')) {
    const [key, ...value] = part.split('=');
    if (key.trim() === name) return value.join('=').trim();
  }
  return undefined;
}

export class Guard {
  constructor() {
    this.secrets = { token: secret(), cookie: secret(), key: secret() };
  }

  #cookieName(request) {
    return `pm_console_${request.socket.localPort}`;
  }

  /** What is wrong with where a request comes from; undefined: nothing. */
  refusal(request) {
    const { host, origin } = request.headers;
    if (!hosts.test(host ?? '')) return 'the Host of the request does not name this machine';
    if (origin !== undefined && origin !== `http://${host}`) return 'the request comes from another page';
    const site = request.headers['sec-fetch-site'];
    if (request.method !== 'GET') {
      if (origin === undefined) return 'the request does not say where it comes from';
      if (site !== undefined && site !== 'same-origin') return 'the request comes from another page';
    }
    return undefined;
  }

  /** The same for requests that only our own scripts make. */
  refusalOfScript(request) {
    const site = request.headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin') return 'the request comes from another page';
    return this.refusal(request);
  }

  /** Takes the token for a session: the Set-Cookie header and the key, or undefined. */
  exchange(request, token) {
    if (typeof token !== 'string' || !equal(token, this.secrets.token)) return undefined;
    return {
      cookie: `${this.#cookieName(request)}=${this.secrets.cookie}; Path=/; HttpOnly; SameSite=Strict`,
      key: this.secrets.key,
    };
  }

  isKnown(request) {
    return (
      equal(cookie(request, this.#cookieName(request)), this.secrets.cookie) &&
      equal(request.headers['x-pm-console'], this.secrets.key)
    );
  }
}
