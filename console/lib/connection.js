// The connection of the command line, as pg wants it. pg knows URLs; psql's users also write keywords, or a name only.
import { existsSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';

// Keywords of libpq and how pg calls them.
const keywords = {
  host: 'host',
  hostaddr: 'host',
  port: 'port',
  dbname: 'database',
  user: 'user',
  password: 'password',
  options: 'options',
};
const tls = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey'];
const ignored = ['application_name', 'connect_timeout', 'client_encoding', 'gssencmode'];

/** Splits "host=/tmp dbname='my db'" into pairs; a backslash escapes the character after it. */
function pairs(text) {
  const found = [];
  const pair = /\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)/gsuy;
  while (pair.lastIndex < text.trimEnd().length) {
    const at = pair.lastIndex;
    const match = pair.exec(text);
    if (!match) throw new Error(`the connection cannot be parsed from "${text.slice(at).trim().split(/\s/u)[0]}" on`);
    found.push([match[1], (match[2] ?? match[3]).replace(/\\(.)/gsu, '$1')]);
  }
  return found;
}

/** libpq's sslmode, in the terms of Node.js. */
function tlsOptions(given) {
  switch (given.sslmode) {
    case undefined:
    case 'disable':
    case 'allow':
    case 'prefer':
      return false;
    case 'require':
    case 'verify-ca':
    case 'verify-full': {
      const file = (name) => (given[name] === undefined ? undefined : readFileSync(given[name], 'utf8'));
      const options = { ca: file('sslrootcert'), cert: file('sslcert'), key: file('sslkey') };
      if (given.sslmode === 'require') options.rejectUnauthorized = options.ca !== undefined;
      // verify-ca does not look at the name.
      if (given.sslmode !== 'verify-full') options.checkServerIdentity = () => undefined;
      return options;
    }
    default:
      throw new Error(`there is no sslmode ${given.sslmode}`);
  }
}

function fromKeywords(text) {
  const config = {};
  const given = {};
  for (const [name, value] of pairs(text)) {
    if (keywords[name]) config[keywords[name]] = value;
    else if (tls.includes(name)) given[name] = value;
    else if (!ignored.includes(name)) throw new Error(`the connection has an unknown keyword "${name}"`);
  }
  if (given.sslmode !== undefined) config.ssl = tlsOptions(given);
  return config;
}

/** The options for pg. Without a host, the server's socket on this machine comes before TCP, as with psql. */
export function connectionConfig(text, env = process.env) {
  if (text !== undefined && /^postgres(ql)?:\/\//u.test(text)) return { connectionString: text };

  let config = {};
  if (text?.includes('=')) config = fromKeywords(text);
  else if (text) config = { database: text };

  config.user ??= env.PGUSER ?? userInfo().username;
  config.database ??= env.PGDATABASE ?? config.user;
  if (config.host === undefined && env.PGHOST === undefined) {
    const port = config.port ?? env.PGPORT ?? 5432;
    if (existsSync(`/var/run/postgresql/.s.PGSQL.${port}`)) config.host = '/var/run/postgresql';
  }
  return config;
}
