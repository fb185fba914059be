// Records the test media with this machine's Chromium. See README.md beside this.
import { createServer } from 'node:http';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { chromium } = createRequire(new URL('../browser/package.json', import.meta.url))('playwright-core');

const [folder, seconds = '8'] = process.argv.slice(2);
if (!folder) {
  console.error('usage: record.mjs FOLDER [SECONDS]');
  process.exit(2);
}

const FILES = [
  ['audio.webm', 'audio/webm;codecs=opus'],
  ['av1.webm', 'video/webm;codecs=av1,opus'],
  ['avc1_opus.mp4', 'video/mp4;codecs=avc1.42001f,opus'],
  ['avc3_opus.mp4', 'video/mp4;codecs=avc3.42001f,opus'],
  ['h264.mkv', 'video/x-matroska;codecs=avc1,opus'],
  ['reschange_avc1.mp4', 'video/mp4;codecs=avc3.42001f,opus', true],
  ['reschange_vp8.webm', 'video/webm;codecs=vp8,opus', true],
  ['vp8.webm', 'video/webm;codecs=vp8,opus'],
  ['vp9.webm', 'video/webm;codecs=vp9,opus'],
  ['vp9_opus_default.mp4', 'video/mp4'],
];

// Runs in the page: records for some seconds and returns the bytes in base64.
async function record({ mimeType, ms, resizes }) {
  if (!MediaRecorder.isTypeSupported(mimeType)) throw new Error(`this Chromium cannot record ${mimeType}`);
  const video = mimeType.startsWith('audio') ? false : { width: resizes ? 640 : 1280, height: resizes ? 480 : 720 };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video });
  const recorder = new MediaRecorder(stream, { mimeType });
  const chunks = [];
  const stopped = new Promise((resolve, reject) => {
    recorder.ondataavailable = (event) => chunks.push(event.data);
    recorder.onstop = resolve;
    recorder.onerror = (event) => reject(event.error);
  });
  const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
  recorder.start(500);
  if (resizes) {
    const [track] = stream.getVideoTracks();
    for (const [width, height] of [[1280, 720], [320, 240]]) {
      await wait(ms / 3);
      await track.applyConstraints({ width: { exact: width }, height: { exact: height } });
    }
    await wait(ms / 3);
  } else {
    await wait(ms);
  }
  recorder.stop();
  await stopped;
  stream.getTracks().forEach((track) => track.stop());
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const profile = mkdtempSync(join(tmpdir(), 'holdfast-record-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
  ],
});
try {
  mkdirSync(folder, { recursive: true });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  for (const [name, mimeType, resizes = false] of FILES) {
    const base64 = await page.evaluate(record, { mimeType, ms: Number(seconds) * 1000, resizes });
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.length < 10_000) throw new Error(`${name} has only ${bytes.length} bytes`);
    // Under its own name only when it is whole.
    writeFileSync(join(folder, `${name}.part`), bytes);
    renameSync(join(folder, `${name}.part`), join(folder, name));
    console.log(`${name}: ${bytes.length} bytes`);
  }
} finally {
  await browser.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
}
