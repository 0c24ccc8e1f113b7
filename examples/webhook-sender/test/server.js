// A server on loopback for the tests: what it gets is in `calls`, and a function decides how each call is answered.
import http from 'node:http';

// answer(call) returns, perhaps by a promise, { status, headers, body (JSON) or text }, or 'hang', or 'reset'. A call is
// { key (the idempotency key), method, path, headers, body, at }.
export async function startServer(answer) {
  const calls = [];
  const server = http.createServer((request, response) => {
    const chunks = [];

    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const text = Buffer.concat(chunks).toString();
      const { method, url, headers } = request;
      const body = text === '' ? null : JSON.parse(text);
      const call = { key: headers['idempotency-key'], method, path: url, headers, body, at: Date.now() };
      const what = await answer(call);

      calls.push(Object.assign(call, { answer: what.status ?? what }));
      if (what === 'reset') request.socket.destroy();
      if (typeof what === 'string') return;
      response.writeHead(what.status, { 'content-type': 'application/json', ...what.headers });
      response.end(what.text ?? (what.body === undefined ? undefined : JSON.stringify(what.body)));
    });
  });

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    calls,
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => { server.close(); server.closeAllConnections?.(); },
  };
}
