// The pages, and the recorder in a foreign one: what people do with them besides a plain
// recording, without a breach of the policy, an uncaught error, or a page that is wider than a phone.
// Environment variables: see record.mjs; HOLDFAST_STORAGE has to be set, and is moved away for a while.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import { api, check, foreignPage, Line, needed, newPage, say, scenario, screenshot, until, variance } from './lib.mjs';

process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // the node made its certificate itself
process.removeAllListeners('warning');

const base = needed('HOLDFAST_URL');
const key = needed('HOLDFAST_KEY');
const ask = api(base, key);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const ENDED = ['stored', 'delivered', 'failed', 'garbage'];

const recorderOf = (page) => page.locator('holdfast-recorder');
const stateOf = (page) => recorderOf(page).evaluate((element) => element.state);
const openCamera = (page) => recorderOf(page).locator('button[data-source=camera]').click();

async function ended(id) {
  return until(`${id} has come to its end`, 90_000, async () => {
    const recording = await (await ask(`/api/v1/recordings/${id}`)).json();
    return ENDED.includes(recording.state) && recording;
  });
}

/** No faults so far, accessible as far as axe can tell, and no wider than the window. */
async function sound({ page, faults }, where) {
  check(!faults.length, `${where}: ${faults.join(' · ')}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(over <= 0, `${where}: ${over} px wider than the window`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }));
  check(!violations.length, `${where}: ${violations.map((v) => `${v.id} (${v.nodes.map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join('; ')})`).join(', ')}`);
}

/** Two seconds of a moving picture, as a file. */
async function makeFile(page) {
  const text = await page.evaluate(async () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [640, 360];
    const context = canvas.getContext('2d');
    let frame = 0;
    const timer = setInterval(() => {
      context.fillStyle = `hsl(${frame * 7} 80% 50%)`;
      context.fillRect(0, 0, 640, 360);
      context.fillStyle = 'white';
      context.fillRect((frame * 9) % 600, 100, 40, 160);
      frame += 1;
    }, 33);
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: 'video/webm;codecs=vp8' });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const stopped = new Promise((resolve) => {
      recorder.onstop = resolve;
    });
    recorder.start(200);
    await new Promise((resolve) => {
      setTimeout(resolve, 2_200);
    });
    recorder.stop();
    await stopped;
    clearInterval(timer);
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    let out = '';
    for (let i = 0; i < bytes.length; i += 32_768) out += String.fromCharCode(...bytes.subarray(i, i + 32_768));
    return btoa(out);
  });
  return Buffer.from(text, 'base64');
}

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

for (const [name, options] of [['a wide window', {}], ['a phone, dark', { ...PHONE, colorScheme: 'dark' }]]) {
  await scenario(`the recorder's states in ${name}`, async (browser) => {
    const place = await newPage(browser, options);
    const { page, button } = place;
    const tag = options.isMobile ? 'phone' : 'wide';
    const look = async (state) => {
      await screenshot(page, `${tag}-${state}`);
      await sound(place, state);
    };
    await page.goto(base);
    await recorderOf(page).waitFor();
    await look('choose');
    await openCamera(page);
    await button('Record').waitFor();
    await page.waitForTimeout(400);
    await look('ready');
    await button('Record').click();
    await button('Pause').click({ delay: 20 });
    await button('Resume').waitFor();
    const paused = await recorderOf(page).evaluate((element) => element.elapsedMs);
    await page.waitForTimeout(700);
    check(await recorderOf(page).evaluate((element) => element.elapsedMs) === paused, 'time goes on while it is paused');
    await look('paused');
    await button('Resume').click();
    await page.waitForTimeout(1_500);
    await look('recording');
    await button('Stop').click();
    await button('Save recording').waitFor();
    await page.waitForTimeout(600);
    await look('review');
    const id = await recorderOf(page).evaluate((element) => element.recordingId);
    await button('Record again').click();
    await button('Record').waitFor();
    await until('the first take was deleted at the node', 10_000, async () => (await (await ask(`/api/v1/recordings/${id}`)).json()).state === 'deleted');
    say(`${tag}: pause, resume, stop, record again; axe has nothing to say`);
  });
}

await scenario('by keyboard alone, with a limit of two seconds, saved by itself', async (browser) => {
  const { page, faults, button } = await newPage(browser);
  await page.goto(`${base}/?env_id=demo&hash=demo&max_seconds=2&auto_save`);
  await recorderOf(page).waitFor();
  for (let i = 0; i < 12 && !await page.evaluate(() => document.activeElement?.localName === 'holdfast-recorder'); i += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await button('Record').waitFor();
  await page.keyboard.press('r');
  await until('saved', 15_000, async () => await stateOf(page) === 'saved');
  const recording = await ended(await recorderOf(page).evaluate((element) => element.recordingId));
  check(Math.abs(recording.media.duration_ms - 2_000) < 700, `it lasts ${recording.media.duration_ms} ms instead of 2000`);
  check(!faults.length, faults.join(' · '));
});

await scenario('the screen, with a voice', async (browser) => {
  const { page, faults, button } = await newPage(browser);
  await page.goto(base);
  await recorderOf(page).locator('button[data-source=screen]').click();
  await button('Record').waitFor();
  await button('Record').click();
  await page.waitForTimeout(2_500);
  await screenshot(page, 'wide-screen');
  await button('Stop').click();
  await button('Save recording').click();
  await until('saved', 15_000, async () => await stateOf(page) === 'saved');
  const recording = await ended(await recorderOf(page).evaluate((element) => element.recordingId));
  check(recording.media.video && recording.media.audio, `picture and sound were expected, it has ${JSON.stringify(recording.media)}`);
  check(!faults.length, faults.join(' · '));
});

await scenario('a page closed in the middle can be finished after a reload', async (browser) => {
  const place = await newPage(browser);
  const { page, button } = place;
  page.on('dialog', (dialog) => dialog.accept());
  await page.goto(base);
  await openCamera(page);
  await button('Record').click();
  await button('Stop').waitFor();
  await until('something acknowledged', 10_000, () => recorderOf(page).evaluate((element) => element.session.acked > 0));
  const id = await recorderOf(page).evaluate((element) => element.recordingId);
  await page.reload();
  await button('Save it').waitFor();
  await screenshot(page, 'wide-unfinished');
  await sound(place, 'unfinished');
  await button('Save it').click();
  await until('saved', 15_000, async () => await stateOf(page) === 'saved');
  check(await recorderOf(page).evaluate((element) => element.recordingId) === id, 'another recording was saved');
  const recording = await ended(id);
  check(['stored', 'delivered'].includes(recording.state), `it became ${recording.state}: ${recording.explain}`);
  await page.goto('about:blank');
  await page.goto(base);
  await until('the choice', 5_000, async () => await stateOf(page) === 'choose');
});

await scenario('what goes wrong is said', async (browser) => {
  const place = await newPage(browser);
  const { page, button } = place;
  const panel = recorderOf(page).locator('.panel');
  await page.goto(`${base}/?env_id=demo&hash=wrong`);
  await openCamera(page);
  await button('Record').click();
  await until('a wrong hash is said', 8_000, async () => /does not know this recorder/.test(await panel.textContent()));
  await screenshot(page, 'wide-wrong-hash');
  await sound(place, 'wrong hash');
  await page.goto(base);
  await recorderOf(page).locator('input[type=file]').setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.alloc(40_000, 'no recording ') });
  await until('a text file is refused', 8_000, async () => /not a recording/i.test(await panel.textContent()));
  const denied = await newPage(browser, { permissions: [] });
  await denied.context.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };
  });
  await denied.page.goto(base);
  await openCamera(denied.page);
  await until('a refused camera is said', 8_000, async () => /camera is not allowed/.test(await recorderOf(denied.page).locator('.panel').textContent()));
  check(!denied.faults.length, denied.faults.join(' · '));
});

await scenario('a file by the picker, then the list: watch, scrub, filter, delete', async (browser) => {
  const place = await newPage(browser);
  const { page, button } = place;
  await page.goto(base);
  const file = await makeFile(page);
  await recorderOf(page).locator('input[type=file]').setInputFiles({ name: 'two seconds.webm', mimeType: 'video/webm', buffer: file });
  await until('saved', 20_000, async () => await stateOf(page) === 'saved');
  const id = await recorderOf(page).evaluate((element) => element.recordingId);
  check((await ended(id)).source === 'upload', 'it is not listed as an upload');

  await page.goto(`${base}/recordings`);
  await page.getByLabel('Key').fill('wrong');
  await button('Open').click();
  await until('a wrong key is said', 8_000, async () => /does not know this key/.test(await page.locator('#notice').textContent()));
  await sound(place, 'the key form');
  await page.goto(`${base}/recordings?again#key=${encodeURIComponent(key)}`);
  const card = page.locator(`.recording[data-id="${id}"]`);
  await card.waitFor();
  check(!page.url().includes(key), 'the key stays in the address');
  await card.scrollIntoViewIfNeeded();
  await card.locator('.thumb img').waitFor();
  check(await variance(page, card.locator('.thumb img')) > 20, 'the thumbnail is blank');
  await screenshot(page, 'wide-list');
  await sound(place, 'the list');
  const unencrypted = (await (await ask('/api/v1/status')).json()).vault.some((volume) => !volume.encrypted);
  check(!unencrypted || /unencrypted/.test(await page.locator('#node').textContent()), 'an unencrypted vault is not called so');

  const box = await card.locator('.thumb').boundingBox();
  const pictures = [];
  for (const part of [0.05, 0.55, 0.95]) {
    await page.mouse.move(box.x + box.width * part, box.y + box.height / 2);
    await page.waitForTimeout(400);
    pictures.push(await card.locator('.strip').evaluate((strip) => strip.style.backgroundPosition));
  }
  check(new Set(pictures).size === 3 && pictures.every(Boolean), `scrubbing shows the same picture: ${pictures.join(', ')}`);
  await card.locator('.thumb').click();
  const video = page.locator('dialog video');
  await until('the player plays', 15_000, () => video.evaluate((element) => element.currentTime > 0.2));
  await screenshot(page, 'wide-player');
  await sound(place, 'the player');
  await page.keyboard.press('Escape');

  await page.getByLabel('Show').selectOption('garbage');
  await until('the filter hides it', 8_000, async () => await card.count() === 0);
  await page.getByLabel('Show').selectOption('');
  await card.waitFor();
  await card.getByRole('button', { name: /^Delete/ }).click();
  await button('Keep it').click();
  await card.waitFor();
  await card.getByRole('button', { name: /^Delete/ }).click();
  await screenshot(page, 'wide-delete');
  await page.locator('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await until('it is gone from the list', 8_000, async () => await card.count() === 0);
  check((await (await ask(`/api/v1/recordings/${id}`)).json()).state === 'deleted', 'the node still has it');
  check(!place.faults.length, place.faults.join(' · '));

  const phone = await newPage(browser, { ...PHONE, colorScheme: 'dark' });
  await phone.page.goto(`${base}/recordings#key=${encodeURIComponent(key)}`);
  await phone.page.locator('.recording, .empty').first().waitFor();
  await phone.page.waitForTimeout(500);
  await screenshot(phone.page, 'phone-list');
  await sound(phone, 'the list on a phone');
});

await scenario('what becomes of a recording: tried again by hand, held, and by which rule each file goes', async (browser) => {
  const place = await newPage(browser);
  const { page } = place;
  const storage = needed('HOLDFAST_STORAGE');
  await page.goto(base);
  const file = await makeFile(page);
  // The destination is away: a share that is not mounted.
  fs.renameSync(storage, `${storage}.away`);
  try {
    await recorderOf(page).locator('input[type=file]').setInputFiles({ name: 'held.webm', mimeType: 'video/webm', buffer: file });
    await until('saved', 20_000, async () => await stateOf(page) === 'saved');
    const id = await recorderOf(page).evaluate((element) => element.recordingId);
    const recording = async () => (await ask(`/api/v1/recordings/${id}`)).json();
    await until('the first attempt to push it has failed', 90_000, async () => (await recording()).push?.next_at);
    await page.goto(`${base}/recordings#key=${encodeURIComponent(key)}`);
    const card = page.locator(`.recording[data-id="${id}"]`);
    await card.getByText(/Attempt 2 of 13/).waitFor();
    const outlook = card.locator('details.outlook');
    await outlook.locator('summary').click();
    await outlook.getByText('What was tried').waitFor();
    check(/attempt 1/.test(await outlook.textContent()), `the attempt is not listed: ${await outlook.textContent()}`);
    check(/Main file/.test(await outlook.textContent()), 'its files are not listed');
    await card.scrollIntoViewIfNeeded();
    await screenshot(page, 'wide-outlook');
    await sound(place, 'what becomes of it');

    await card.getByRole('button', { name: /^Legal hold/ }).click();
    const reason = page.locator('dialog').getByRole('textbox');
    await reason.fill('case 12/26');
    await screenshot(page, 'wide-hold');
    await sound(place, 'asking for a reason');
    await page.locator('dialog').getByRole('button', { name: 'Hold', exact: true }).click();
    await card.getByText(/case 12\/26/).waitFor();
    check((await recording()).hold.reason === 'case 12/26', 'the node knows no hold');
    // The raw file has been handed to processing and may have gone before.
    const gone = async () => (await recording()).files.filter((it) => it.deleted_at).map((it) => it.kind).join();
    const before = await gone();
    check(!before.includes('main'), `the film is gone: ${before}`);

    fs.renameSync(`${storage}.away`, storage);
    await card.getByRole('button', { name: /^Retry now/ }).click();
    await until('it is stored', 30_000, async () => (await recording()).state === 'stored');
    await until('the page says so', 10_000, async () => await card.getAttribute('data-state') === 'stored');
    await until('each file is said to be kept by the hold', 10_000, async () => /Kept by the legal hold/.test(await outlook.textContent()));
    await screenshot(page, 'wide-held');
    await card.getByRole('button', { name: /^Delete/ }).click();
    await page.locator('dialog').getByText(/is under a legal hold/).waitFor();
    await sound(place, 'what is held cannot be deleted');
    await page.locator('dialog').getByRole('button', { name: 'Close', exact: true }).click();
    check(await gone() === before, `under the hold went more than ${before}: ${await gone()}`);

    await card.getByRole('button', { name: /^Lift/ }).click();
    await page.locator('dialog').getByRole('button', { name: /^Lift/ }).click();
    await until('what the hold put off has happened', 20_000, async () => (await recording()).files.every((it) => it.deleted_at));
    await until('the page says by which rule', 10_000, async () => /Deleted here on/.test(await outlook.textContent()) && /rule/i.test(await outlook.locator('.why').first().textContent()));
    await screenshot(page, 'wide-went');
    await sound(place, 'what went, and by which rule');
  } finally {
    if (fs.existsSync(`${storage}.away`)) fs.renameSync(`${storage}.away`, storage);
  }
});

await scenario('the evidence, for people and as the file that is signed', async (browser) => {
  const place = await newPage(browser);
  const { page } = place;
  await page.goto(`${base}/evidence#key=wrong`);
  await until('a wrong key is said', 8_000, async () => /does not know this key/.test(await page.locator('#notice').textContent()));
  await page.locator('input[name=key]').fill(key);
  await page.locator('input[name=key]').press('Enter');
  const evidence = await (await ask('/api/v1/evidence')).json();
  await until('each promise stands there', 8_000, async () => await page.locator('.promise').count() === evidence.promises.length);
  for (const { name, holds } of evidence.promises) {
    const word = { true: 'Kept', false: 'Not kept', null: 'Not known' }[holds];
    check(await page.locator(`.promise[data-name=${name}] .chip`).textContent() === word, `${name} is not said to be ${word}`);
  }
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'evidence.json' }).click()]);
  const file = JSON.parse(fs.readFileSync(await download.path(), 'utf8'));
  check(file.signature && file.key === evidence.key, 'the file is not what the node signed');
  await screenshot(page, 'wide-evidence');
  await sound({ page, faults: place.faults.filter((fault) => !fault.includes('401')) }, 'the evidence');
  const phone = await newPage(browser, { ...PHONE, colorScheme: 'dark' });
  await phone.page.goto(`${base}/evidence#key=${encodeURIComponent(key)}`);
  await phone.page.locator('.promise').first().waitFor();
  await screenshot(phone.page, 'phone-evidence');
  await sound(phone, 'the evidence on a phone');
});

await scenario('the node tests itself when it is asked to', async (browser) => {
  const place = await newPage(browser);
  const { page } = place;
  await page.goto(`${base}/recordings#key=${encodeURIComponent(key)}`);
  await page.getByRole('button', { name: 'Self-test' }).click();
  await until('each check stands there', 150_000, async () => await page.locator('.tests li').count() >= 8);
  for (const name of ['ledger', 'volume', 'film', 'destination', 'certificate', 'key']) {
    const said = page.locator(`.tests li[data-name=${name}]`).first();
    check(await said.getAttribute('data-outcome') === 'passed', `${name}: ${await said.textContent()}`);
  }
  check(/All is well|Nothing failed/.test(await page.locator('dialog [role=status]').textContent()), 'it is not summed up');
  await screenshot(page, 'wide-selftest');
  await sound(place, 'the self-test');
  await page.setViewportSize({ width: 390, height: 780 });
  await screenshot(page, 'phone-selftest');
  await sound(place, 'the self-test on a phone');
  await page.locator('dialog').getByRole('button', { name: 'Close' }).click();
  await until('it is closed', 4_000, async () => await page.locator('dialog').count() === 0);
});

await scenario('embedded in a foreign page with a strict policy of its own', async (browser) => {
  const line = await Line.to(base);
  const wss = line.url.replace('https', 'wss');
  const foreign = await foreignPage(
    `<h1>Tell us</h1><holdfast-recorder env-id="demo" hash="demo" node="${line.url}" sources="camera"></holdfast-recorder><script type="module" src="${line.url}/recorder/v1/holdfast-recorder.js"></script>`,
    `default-src 'none'; script-src ${line.url}; connect-src ${line.url} ${wss}; media-src ${line.url} blob:; img-src blob:; require-trusted-types-for 'script'`,
  );
  const { page, faults, button } = await newPage(browser);
  await page.goto(foreign);
  await openCamera(page);
  await button('Record').click();
  await button('Stop').waitFor();
  await page.waitForTimeout(1_500);
  await screenshot(page, 'wide-embedded');
  await button('Stop').click();
  await button('Save recording').waitFor();
  const playback = recorderOf(page).locator('video.playback');
  await until('playback across origins', 10_000, () => playback.evaluate((video) => video.dataset.from === 'node' && video.readyState >= 2));
  await button('Save recording').click();
  await until('the finished file across origins', 60_000, () => playback.evaluate((video) => video.dataset.from === 'result' && video.readyState >= 2));
  check(!faults.length, faults.join(' · '));
});
