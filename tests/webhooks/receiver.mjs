// A customer's server: verifies what it is sent with other people's code, and tells what it got.
//
// The first line on standard output is {"port":…}. Each line on standard input is a webhook that it
// is to expect: {"path":…,"url":…,"secret":…,"pipe_key":…}. Each request is a line on standard output:
// {"path":…,"ok":…,"error":…,"id":…,"event":…,"data":…}. A path that begins with /flaky is answered
// with 503 the first time that it is told something, so that it is told again.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Webhook } from 'standardwebhooks';

const BODY_BYTES_MAX = 1 << 20;
const expected = new Map();
const seen = new Set();

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

createInterface({ input: process.stdin })
    .on('line', (line) => {
        const hook = JSON.parse(line);
        expected.set(hook.path, hook);
    })
    .on('close', () => process.exit(0));

async function read(request) {
    const chunks = [];
    let bytes = 0;
    for await (const chunk of request) {
        bytes += chunk.length;
        if (bytes > BODY_BYTES_MAX) throw new Error('the body is too large');
        chunks.push(chunk);
    }
    return Buffer.concat(chunks);
}

function verify(hook, request, body) {
    // Throws where the signature, or the time, is not right.
    const { headers } = request;
    const wh = new Webhook(hook.secret);
    let json;
    if (headers['content-type'] === 'application/json') {
        json = body.toString();
        wh.verify(json, headers);
        // What was altered on the way is noticed.
        let noticed = false;
        try {
            wh.verify(json.replace('"version"', '"Version"'), headers);
        } catch {
            noticed = true;
        }
        if (!noticed) throw new Error('an altered body passed');
    } else {
        json = new URLSearchParams(body.toString()).get('payload');
        // The library wants JSON behind the signature, and the form is what is signed.
        const signed = wh.sign(
            headers['webhook-id'], new Date(Number(headers['webhook-timestamp']) * 1000), body.toString(),
        );
        if (!headers['webhook-signature'].split(' ').includes(signed)) {
            throw new Error('the form is not signed as the library signs it');
        }
    }
    const pipe = createHmac('sha1', hook.pipe_key ?? hook.secret).update(hook.url).update(json).digest();
    if (!timingSafeEqual(pipe, Buffer.from(headers['x-pipe-signature'], 'base64'))) {
        throw new Error('X-Pipe-Signature is not right');
    }
    return JSON.parse(json);
}

const server = createServer(async (request, response) => {
    const line = { path: request.url, id: request.headers['webhook-id'] };
    try {
        const body = await read(request);
        const payload = verify(expected.get(request.url), request, body);
        Object.assign(line, { ok: true, event: payload.event, data: payload.data });
    } catch (error) {
        Object.assign(line, { ok: false, error: String(error) });
    }
    const isFirst = !seen.has(line.id);
    seen.add(line.id);
    response.statusCode = !line.ok ? 401 : request.url.startsWith('/flaky') && isFirst ? 503 : 204;
    response.end();
    tell({ ...line, status: response.statusCode });
});

server.listen(0, '127.0.0.1', () => tell({ port: server.address().port }));
