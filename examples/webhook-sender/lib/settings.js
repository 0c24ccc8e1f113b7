// The settings, from the environment.
import { readFileSync } from 'node:fs';
import { Networks } from './address.js';
import { Hosts } from './hosts.js';

export function settingsOf(env) {
  const list = (name) => (env[name] ?? '').split(/[\s,]+/).filter((entry) => entry !== '');
  const number = (name, fallback, min, max) => {
    const text = env[name] || String(fallback);

    if (!/^\d{1,12}$/.test(text) || Number(text) < min || Number(text) > max) {
      throw new Error(`${name} must be a number from ${min} to ${max}, not "${text}"`);
    }
    return Number(text);
  };
  const named = (name, make) => {
    try {
      return make();
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    }
  };

  if (list('PM_SENDER_HOSTS').length === 0) {
    throw new Error('PM_SENDER_HOSTS must name the hosts that may be called, for example "api.example.com, *.example.org"');
  }
  return {
    processManager: env.PM_SENDER_NAME || 'sender',
    hosts: named('PM_SENDER_HOSTS', () => new Hosts(list('PM_SENDER_HOSTS'))),
    networks: named('PM_SENDER_NETWORKS', () => new Networks(list('PM_SENDER_NETWORKS'))),
    secrets: named('PM_SENDER_SECRETS', () => secretsOf(env.PM_SENDER_SECRETS)),
    keyPrefix: named('PM_SENDER_KEY_PREFIX', () => prefixOf(env.PM_SENDER_KEY_PREFIX ?? '')),
    concurrency: number('PM_SENDER_CONCURRENCY', 10, 1, 1000),
    batch: number('PM_SENDER_BATCH', 100, 1, 10000),
    timeout: number('PM_SENDER_TIMEOUT', 10000, 1, 3600000),
    maxBody: number('PM_SENDER_MAX_BODY', 1048576, 0, 268435456),
    maxAnswer: number('PM_SENDER_MAX_ANSWER', 65536, 0, 16777216),
    maxRetryAfter: number('PM_SENDER_MAX_RETRY_AFTER', 3600000, 0, 2592000000),
  };
}

function prefixOf(text) {
  if (!/^[\x21-\x7e]{0,100}$/.test(text)) throw new Error('must have at most 100 printable ASCII characters');
  return text;
}

// The file {"https://api.example.com": {"Authorization": "Bearer ..."}}: headers that requests to an origin get, so that
// secrets are in no log.
function secretsOf(file) {
  const secrets = new Map();

  if (!file) return secrets;
  for (const [origin, headers] of Object.entries(JSON.parse(readFileSync(file, 'utf8')))) {
    if (new URL(origin).origin !== origin) throw new Error(`"${origin}" is not an origin, such as https://api.example.com`);
    for (const [name, value] of Object.entries(headers)) {
      if (!/^[\w-]+$/.test(name) || typeof value !== 'string' || !/^[\t\x20-\x7e]*$/.test(value)) {
        throw new Error(`the header "${name}" for ${origin} is not valid`);
      }
    }
    secrets.set(origin, Object.entries(headers));
  }
  return secrets;
}
