// open_console.mjs ADDRESS: asks the console's server what an open overview asks, as often as the page does (see useLive
// in console/public/api.js), until it is ended. A browser would take processor time of its own.
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

const [, origin, token] = /^(http:\/\/127\.0\.0\.1:\d+)\/#token=(\S+)$/u.exec(process.argv[2]);

function ask(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    const sent = request(`${origin}${path}`, { method, headers: { origin, 'content-type': 'application/json', ...headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part)).on('end', () => {
        if (response.statusCode === 200) resolve({ cookie: response.headers['set-cookie']?.[0].split(';')[0], content: JSON.parse(text) });
        else reject(new Error(`${path}: ${text}`));
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const { cookie, content } = await ask('POST', '/session', {}, JSON.stringify({ token }));
const session = { cookie, 'x-pm-console': content.key };

async function repeat(path, every) {
  for (;;) {
    const { content: data } = await ask('GET', path, session);
    await delay(Math.max(every, data.every ?? 0));
  }
}

await Promise.all([repeat('/api/about', 15_000), repeat('/api/overview', 1000)]);
