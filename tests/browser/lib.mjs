// What both browser scenarios need: a browser, a line that can be cut, and checks that end in a
// sentence.

import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { chromium } from 'playwright-core';

/** What a scenario opened and its end closes, however it ends. */
const open = new Set();

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
];

export class Failure extends Error {}

export function check(holds, sentence) {
  if (!holds) throw new Failure(sentence);
}

export function say(text) {
  process.stdout.write(`  ${text}\n`);
}

export function needed(name) {
  const value = process.env[name];
  if (!value) throw new Failure(`${name} is not set; tests/browser/run sets it for a node of its own`);
  return value;
}

export function launch() {
  return chromium.launch({ executablePath: process.env.HOLDFAST_CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
}

/** A page in a profile of its own that notes every error and every breach of the policy. */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 }, ignoreHTTPSErrors: true, permissions: ['camera', 'microphone'], ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const faults = [];
  page.on('pageerror', (error) => faults.push(`an uncaught error: ${error.stack}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && /Content Security Policy|Refused to|Permissions policy/i.test(message.text())) faults.push(message.text());
  });
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return { page, context, faults, button: (name) => page.getByRole('button', { name, exact: true }) };
}

/** A TCP proxy that can really cut the line. */
export class Line {
  static async to(url) {
    const { hostname, port } = new URL(url);
    const line = new Line();
    line.sockets = new Set();
    line.isCut = false;
    line.server = net.createServer((client) => {
      if (line.isCut) {
        client.resetAndDestroy();
        return;
      }
      const node = net.connect(Number(port || 443), hostname.replace(/^\[|\]$/g, ''));
      for (const [from, to] of [[client, node], [node, client]]) {
        line.sockets.add(from);
        from.pipe(to);
        from.on('error', () => to.destroy());
        from.on('close', () => {
          line.sockets.delete(from);
          to.destroy();
        });
      }
    });
    await new Promise((resolve) => {
      line.server.listen(0, '127.0.0.1', resolve);
    });
    open.add(line);
    line.url = `https://127.0.0.1:${line.server.address().port}`;
    return line;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  mend() { this.isCut = false; }

  close() {
    this.cut();
    this.server.close();
  }
}

/** Serves one page on an origin that is not the node's. */
export async function foreignPage(body, policy) {
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy });
    response.end(`<!doctype html><html lang="en"><title>A customer's page</title><body><main>${body}</main></body></html>`);
  });
  await new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  open.add(server);
  return `http://127.0.0.1:${server.address().port}/`;
}

export async function screenshot(page, name) {
  const folder = process.env.HOLDFAST_SCREENSHOTS;
  if (!folder) return;
  fs.mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

/** Asks the API as the operator would. */
export function api(base, key) {
  return async (pathname, init = {}) => {
    const answer = await fetch(new URL(pathname, base), { ...init, headers: { authorization: `Bearer ${key}` } });
    check(answer.ok, `${pathname} answered ${answer.status}: ${await answer.clone().text()}`);
    return answer;
  };
}

export async function until(what, ms, test) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await test();
    if (value) return value;
    check(Date.now() < end, `after ${ms / 1000} s still not: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 200);
    });
  }
}

/** In the page: how much the pixels of a picture differ; 0 for a blank one. */
export function variance(page, locator) {
  return locator.evaluate(async (image) => {
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let [sum, squares, count] = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) {
      const grey = (data[i] + data[i + 1] + data[i + 2]) / 3;
      sum += grey;
      squares += grey * grey;
      count += 1;
    }
    return squares / count - (sum / count) ** 2;
  });
}

/** Runs a scenario; its failure is one sentence and the exit status 1. */
export async function scenario(name, act) {
  const browser = await launch();
  try {
    await act(browser);
    process.stdout.write(`ok    ${name}\n`);
  } catch (error) {
    process.exitCode = 1;
    process.stdout.write(`FAIL  ${name}: ${error instanceof Failure ? error.message : error.stack}\n`);
    for (const context of browser.contexts()) {
      for (const page of context.pages()) await screenshot(page, `failed-${name.replace(/\W+/g, '-')}`).catch(() => {});
    }
  } finally {
    await browser.close();
    for (const each of open) each.close();
    open.clear();
  }
}
