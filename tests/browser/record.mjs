// Ten seconds of camera and microphone on a line that is cut for three of them: what the browser's
// recorder produced, what the node received, and what it made of it, compared byte by byte where
// they must be the same.
//
// HOLDFAST_URL   the node, such as https://127.0.0.1:8443
// HOLDFAST_KEY   a key of its API
// HOLDFAST_STORAGE      folder of a directory destination, where the results go (optional)
// HOLDFAST_SCREENSHOTS  folder for pictures of the pages (optional)

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { api, check, Line, needed, newPage, say, scenario, screenshot, until, variance } from './lib.mjs';

process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // the node made its certificate itself
process.removeAllListeners('warning');

const LENGTH_MS = 10_000;
const CUT_AT_MS = 4_000;
const CUT_MS = 3_000;
const LENGTH_OFF_MS_MAX = 300;

const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');

/** In the page: keeps everything that MediaRecorder hands out. */
function watchRecorder() {
  const Real = globalThis.MediaRecorder;
  globalThis.recorded = [];
  globalThis.MediaRecorder = class extends Real {
    constructor(...given) {
      super(...given);
      this.addEventListener('dataavailable', ({ data }) => globalThis.recorded.push(data));
    }
  };
  for (const what of ['started', 'stopped', 'saved', 'done', 'error']) {
    addEventListener(`holdfast-${what}`, ({ detail }) => {
      (globalThis.events ??= []).push([what, detail]);
    });
  }
}

async function playToEnd(video, ms) {
  return video.evaluate((element, limit) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not at its end after ${limit} ms, but at ${element.currentTime} s`)), limit);
    element.addEventListener('ended', () => {
      clearTimeout(timer);
      resolve({ at_s: element.currentTime, duration_s: element.duration, width: element.videoWidth, height: element.videoHeight });
    }, { once: true });
    element.addEventListener('error', () => reject(new Error(element.error?.message ?? 'it cannot be played')));
    element.muted = true;
    element.currentTime = 0;
    element.play().catch(reject);
  }), ms);
}

const base = needed('HOLDFAST_URL');
const ask = api(base, needed('HOLDFAST_KEY'));

await scenario('a recording outlives its line', async (browser) => {
  const line = await Line.to(base);
  const { page, context, faults, button } = await newPage(browser);
  await context.addInitScript(watchRecorder);
  await page.goto(line.url);
  const recorder = page.locator('holdfast-recorder');
  await recorder.locator('button[data-source=camera]').click();
  await button('Record').waitFor();
  await page.waitForTimeout(500);
  await screenshot(page, 'record-1-ready');

  await button('Record').click();
  await button('Stop').waitFor();
  const began = Date.now();
  const at = (ms) => page.waitForTimeout(Math.max(0, began + ms - Date.now()));
  await at(CUT_AT_MS);
  await screenshot(page, 'record-2-recording');
  const before = await recorder.evaluate((element) => element.session.acked);
  check(before > 0, 'after 4 s of recording the node has acknowledged nothing');
  line.cut();
  const cutAt = Date.now();
  const banner = recorder.locator('.banner');
  await until('the page to say that the line is cut', 20_000, async () => /connection to the node is gone/.test(await banner.textContent()));
  check(/Recording goes on/.test(await banner.textContent()), 'the page did not say that recording goes on');
  await screenshot(page, 'record-3-gone');
  await page.waitForTimeout(Math.max(0, cutAt + CUT_MS - Date.now()));
  line.mend();
  say('the line was cut for 3 s, and the page said so');
  await at(LENGTH_MS);
  // A busy machine may have taken longer until here, and takes its time to click.
  const least = Date.now() - began;
  await button('Stop').click();
  const most = Date.now() - began;
  await button('Save recording').waitFor();
  await until('everything acknowledged after the line was back', 20_000, () => recorder.evaluate((element) => element.session.durable));
  check(await banner.isHidden(), 'the line is back, and the page still says that it is gone');

  const local = Buffer.from(await page.evaluate(async () => {
    const bytes = new Uint8Array(await new Blob(globalThis.recorded).arrayBuffer());
    let text = '';
    for (let i = 0; i < bytes.length; i += 32_768) text += String.fromCharCode(...bytes.subarray(i, i + 32_768));
    return btoa(text);
  }), 'base64');
  const digest = sha256(local);
  const { lengthMs } = await page.evaluate(() => globalThis.events.find(([what]) => what === 'stopped')[1]);
  check(lengthMs > least - 1_000 && lengthMs < most + 1_000, `recorded ${lengthMs} ms instead of ${least} to ${most}`);
  const said = await recorder.evaluate((element) => element.sha256);
  check(said === digest, `the node says ${said}, MediaRecorder produced ${digest}`);
  const playbackUrl = await recorder.evaluate((element) => element.session.playbackUrl);
  const raw = Buffer.from(await (await fetch(playbackUrl)).arrayBuffer());
  check(raw.equals(local), `the raw file has ${raw.length} bytes (${sha256(raw)}), MediaRecorder produced ${local.length} (${digest})`);
  say(`${local.length} bytes, ${digest.slice(0, 16)}…: MediaRecorder, the node's digest and the raw file agree`);

  const playback = recorder.locator('video.playback');
  await until('playback from the node', 10_000, () => playback.evaluate((video) => video.dataset.from === 'node' && video.readyState >= 2));
  const played = await playToEnd(playback, lengthMs + 10_000);
  // A busy machine gives its first frame late: the wall clock is only near what was recorded.
  check(Math.abs(played.duration_s * 1000 - lengthMs) < 900, `the recording lasts ${played.duration_s} s after ${lengthMs} ms of recording`);
  check(Math.abs(played.at_s - played.duration_s) < 0.3, `playback ended at ${played.at_s} s of ${played.duration_s} s`);
  await screenshot(page, 'record-4-review');
  say('played back from the node before it was saved');

  await button('Save recording').click();
  const id = await until('saved', 10_000, () => page.evaluate(() => globalThis.events.find(([what]) => what === 'saved')?.[1].recordingId));
  await page.waitForTimeout(600);
  await screenshot(page, 'record-5-processing');
  const rec = await until('stored or delivered', 120_000, async () => {
    const recording = await (await ask(`/api/v1/recordings/${id}`)).json();
    check(!['failed', 'garbage', 'deleted'].includes(recording.state), `it became ${recording.state}: ${recording.explain}`);
    return ['stored', 'delivered'].includes(recording.state) && recording;
  });
  check(rec.sha256 === digest, `the API says ${rec.sha256}, MediaRecorder produced ${digest}`);
  check(rec.bytes === local.length, `the API says ${rec.bytes} bytes, MediaRecorder produced ${local.length}`);
  check(!rec.recovered, 'it was recovered by the node instead of saved by the person');
  compareStored(rec, local);
  say(`${rec.state}: ${rec.explain}`);

  await until('the finished file in the page', 30_000, () => playback.evaluate((video) => video.dataset.from === 'result' && video.readyState >= 2));
  const result = await playToEnd(playback, lengthMs + 10_000);
  const off_ms = Math.abs(result.duration_s - played.duration_s) * 1000;
  check(off_ms <= LENGTH_OFF_MS_MAX, `the .mp4 lasts ${result.duration_s} s, the recording ${played.duration_s} s`);
  check(result.width > 0, 'the .mp4 has no picture');
  say(`the .mp4 plays to its end: ${result.duration_s.toFixed(3)} s, the recording has ${played.duration_s.toFixed(3)} s, ${result.width} × ${result.height}`);
  for (const kind of ['snapshot', 'filmstrip']) {
    const picture = recorder.locator(`img.${kind}`);
    await picture.waitFor();
    const spread = await variance(page, picture);
    check(spread > 20, `the ${kind} is blank (variance ${spread.toFixed(1)})`);
    say(`the ${kind} shows something (variance ${spread.toFixed(0)})`);
  }
  await until('the element says that it is done', 20_000, () => page.evaluate(() => globalThis.events.some(([what]) => what === 'done')));
  await screenshot(page, 'record-6-done');
  check(!faults.length, `the page has faults: ${faults.join(' · ')}`);
});

/** The files at a directory destination, where the caller says which folder that is. */
function compareStored(rec, local) {
  const folder = process.env.HOLDFAST_STORAGE;
  if (!folder) return;
  for (const file of rec.files) {
    for (const { location } of file.pushed ?? []) {
      const stored = fs.readFileSync(path.resolve(folder, location));
      check(stored.length > 0, `${location} is empty`);
      if (file.sha256) check(sha256(stored) === file.sha256, `${location} is not what the ledger says`);
      if (file.kind === 'raw') check(stored.equals(local), `${location} is not what MediaRecorder produced`);
    }
  }
}
