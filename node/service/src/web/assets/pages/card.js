// One recording of the list: what it is, where it stands, and what can be done with it.

import { button, clockTime, h, icon, size } from '/recorder/v1/dom.js';
import { holdLine, outlookOf, pushLine, triedOf } from './outlook.js';

const STATES = {
  receiving: ['Receiving', 'busy'],
  stopped: ['Stopped', 'warn'],
  saved: ['Saved', 'busy'],
  copying: ['Copying', 'busy'],
  processing: ['Processing', 'busy'],
  delivering: ['Delivering', 'busy'],
  stored: ['Stored', 'good'],
  delivered: ['Delivered', 'good'],
  failed: ['Failed', 'bad'],
  unknown: ['Unknown', 'warn'],
  garbage: ['Garbage', 'bad'],
  deleted: ['Deleted', ''],
};
export const STATE_NAMES = Object.entries(STATES).map(([state, [name]]) => [state, name]);
export const MOVING = new Set(['receiving', 'stopped', 'saved', 'copying', 'processing', 'delivering']);

const when = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const whenToday = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });

export function instant(text) {
  if (!text) return null;
  const date = new Date(text);
  const today = new Date().toDateString() === date.toDateString();
  return h('time', { datetime: text, title: date.toLocaleString() }, today ? `Today, ${whenToday.format(date)}` : when.format(date));
}

/** What the person called it, its name, or a short one made of its id. */
export function titleOf({ name, id, metadata }) {
  return metadata?.title || (name && name !== id ? name : `Recording ${id.slice(-6)}`);
}

export const fileOf = (recording, kind) => recording.files?.find((file) => file.kind === kind) ?? null;

/** Whether the node can hand this file out: it holds it, or a destination does. */
export const within = (file) => Boolean(file?.url && (file.local !== false || file.pushed?.length));

export class Card {
  #acts;
  #recording = null;
  #told = '';
  #mayManage = true;
  #outlook = h('details', { class: 'outlook' });
  #urls = {};
  #frames = null;
  #thumb;
  #facts = h('div', { class: 'facts' });
  #buttons = h('div', { class: 'acts' });
  #seen = false;

  /** `acts`: picture(url), explain(id), attempts(id), and what a person does with a recording. */
  constructor(acts) {
    this.#acts = acts;
    this.#outlook.append(h('summary', {}, 'What becomes of it'), h('div', { 'aria-live': 'polite' }));
    this.#outlook.addEventListener('toggle', () => this.#showOutlook());
    this.#thumb = h('button', { type: 'button', class: 'thumb', onclick: () => acts.play(this.#recording) });
    this.#thumb.addEventListener('pointermove', (event) => this.#scrub(event.offsetX / this.#thumb.clientWidth));
    this.#thumb.addEventListener('pointerleave', () => this.#thumb.classList.remove('scrubbing'));
    this.#thumb.addEventListener('blur', () => this.#thumb.classList.remove('scrubbing'));
    this.#thumb.addEventListener('keydown', (event) => this.#scrubByKey(event));
    this.element = h('li', { class: 'recording' }, this.#thumb, this.#facts, this.#buttons);
  }

  get recording() { return this.#recording; }

  show(recording, mayManage) {
    const told = JSON.stringify([recording, mayManage]);
    if (told === this.#told) return;
    this.#told = told;
    this.#recording = recording;
    this.#mayManage = mayManage;
    this.element.dataset.id = recording.id;
    this.element.dataset.state = recording.state;
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const open = this.#facts.querySelector('details.more-facts')?.open ?? false;
    this.#facts.replaceChildren(...this.#factsOf(recording, open));
    this.#showButtons(recording);
    this.#showThumb();
    this.#showOutlook();
    if (this.#seen) this.#loadSnapshot();
    this.#focusAgain(focused);
  }

  /** What had the focus was made anew: its successor gets it, or the card's first button. */
  #focusAgain(focused) {
    if (!focused || focused.isConnected) return void (focused !== document.activeElement && focused?.focus());
    const { act } = focused.dataset;
    const wanted = act ? `[data-act="${act}"]` : focused.localName === 'summary' ? 'details.more-facts summary' : null;
    const successor = (wanted && this.element.querySelector(wanted)) ?? this.element.querySelector('.acts button');
    successor?.focus();
  }

  /** Asked for when it is opened, and again when the recording has changed meanwhile. */
  async #showOutlook() {
    if (!this.#outlook.open) return;
    const [, place] = this.#outlook.children;
    const told = this.#told;
    try {
      const { id } = this.#recording;
      const [outlook, attempts] = await Promise.all([this.#acts.explain(id), this.#acts.attempts(id)]);
      if (told === this.#told) place.replaceChildren(...outlookOf(outlook), ...triedOf(attempts));
    } catch (error) {
      if (!place.children.length) place.replaceChildren(h('p', {}, error.message));
    }
  }

  /** It came into view: worth fetching its picture. */
  seen() {
    this.#seen = true;
    this.#loadSnapshot();
  }

  close() {
    for (const url of Object.values(this.#urls)) if (url) URL.revokeObjectURL(url);
  }

  #factsOf(rec, open) {
    const [word, mood] = STATES[rec.state] ?? [rec.state, ''];
    const { media } = rec;
    const meta = [
      instant(rec.received_at),
      media?.duration_ms ? clockTime(media.duration_ms) : null,
      size(rec.bytes ?? 0),
      media?.width ? `${media.width} × ${media.height}` : null,
      rec.env_id,
    ].filter(Boolean).map((part) => h('span', {}, part));
    const attempt = rec.state !== 'failed' && [rec.copy, rec.transcode, rec.push].find((step) => step?.next_at);
    return [
      h('div', { class: 'title' }, h('h2', { title: rec.id }, titleOf(this.#recording)), h('span', { class: 'chip', 'data-mood': mood }, word),
        rec.recovered && h('span', { class: 'chip', title: 'The client did not come back; what had arrived was kept.' }, 'Recovered')),
      h('div', { class: 'meta' }, meta),
      rec.state === 'processing' && h('progress', { max: '1', value: rec.progress ?? 0, 'aria-label': 'Processing' }),
      ...(rec.pushing ?? []).map(pushLine),
      rec.hold && holdLine(rec.hold, this.#mayManage && this.#act('Lift', 'lift')),
      attempt && h('div', { class: 'next' }, icon('clock'), h('span', {}, attempt.waits_for ? 'Waits until ' : `Attempt ${attempt.attempts + 1} of ${attempt.attempts_max}: `, instant(attempt.next_at)),
        this.#mayManage && this.#act('Retry now', 'retry')),
      rec.unavailable && h('p', { class: 'explain' }, `Its files cannot be had now: ${rec.unavailable}. They are not lost.`),
      rec.explain && h('p', { class: 'explain' }, rec.explain),
      rec.state === 'failed' && this.#mayManage && h('div', { class: 'next' },
        pushFailed(rec) ? this.#act('Push again', 'push') : this.#act('Try again', 'retry')),
      this.#outlook,
      details(rec, open),
    ].filter(Boolean);
  }

  /** A small button with words, for what this card's state asks for. */
  #act(label, name) {
    const made = button(label, { onclick: () => this.#do(made, name), kind: 'slight' });
    made.dataset.act = name;
    made.setAttribute('aria-label', `${label}: ${titleOf(this.#recording)}`);
    return made;
  }

  async #do(trigger, name) {
    trigger.disabled = true;
    await this.#acts[name](this.#recording);
    trigger.disabled = false;
  }

  #showButtons(rec) {
    const act = (label, glyph, kind, name) => {
      const made = button(label, { onclick: () => this.#acts[name](this.#recording), glyph, kind });
      made.querySelector('span').className = 'unseen';
      made.title = label;
      made.dataset.act = name;
      made.setAttribute('aria-label', `${label}: ${titleOf(this.#recording)}`);
      return made;
    };
    const main = within(fileOf(rec, 'main')) || within(fileOf(rec, 'raw'));
    const ended = rec.state === 'deleted' || rec.state === 'garbage';
    this.#buttons.replaceChildren(...[
      main && act('Download', 'download', '', 'download'),
      !ended && !rec.hold && this.#mayManage && act('Legal hold', 'shield', '', 'hold'),
      rec.state !== 'deleted' && this.#mayManage && act('Delete', 'trash', 'bad', 'remove'),
    ].filter(Boolean));
  }

  #showThumb() {
    const rec = this.#recording;
    const playable = within(fileOf(rec, 'main'));
    const length = rec.media?.duration_ms;
    this.#thumb.disabled = !playable;
    this.#thumb.setAttribute('aria-label', playable ? `Play ${titleOf(this.#recording)}` : 'Nothing to play yet');
    this.#thumb.replaceChildren(...[
      this.#urls.snapshot && h('img', { src: this.#urls.snapshot, alt: '' }),
      h('span', { class: 'glyph' }, icon(playable ? 'play' : MOVING.has(rec.state) ? 'clock' : 'camera')),
      h('span', { class: 'strip' }),
      length && h('time', {}, clockTime(length)),
      h('span', { class: 'at' }),
    ].filter(Boolean));
  }

  async #load(kind) {
    const file = fileOf(this.#recording, kind);
    if (!within(file) || kind in this.#urls) return null;
    this.#urls[kind] = null;
    try {
      this.#urls[kind] = URL.createObjectURL(await this.#acts.picture(file.url));
    } catch {
      delete this.#urls[kind];
    }
    return this.#urls[kind] ?? null;
  }

  async #loadSnapshot() {
    if (await this.#load('snapshot')) this.#showThumb();
  }

  /** The filmstrip shows its pictures one by one as the pointer goes across. */
  async #scrub(part) {
    this.#part = part;
    if (!this.#frames) {
      const url = await this.#load('filmstrip');
      if (!url) return;
      const image = new Image();
      image.src = url;
      await image.decode().catch(() => {});
      const vtt = fileOf(this.#recording, 'filmstrip_vtt');
      const cues = within(vtt) ? await this.#acts.picture(vtt.url).then((blob) => blob.text()).catch(() => '') : '';
      this.#frames = tilesOf(cues, image) ?? framesOf(image, this.#recording.media);
      this.#thumb.addEventListener('pointerenter', () => this.#paint());
    }
    this.#paint();
  }

  #part = 0;

  #paint() {
    const strip = this.#thumb.querySelector('.strip');
    if (!strip || !this.#frames || !this.#thumb.matches(':hover, :focus')) return;
    const { columns, rows, count, aspect } = this.#frames;
    const frame = Math.min(count - 1, Math.max(0, Math.floor(this.#part * count)));
    const { clientWidth: w, clientHeight: t } = this.#thumb;
    const [fw, fh] = aspect > w / t ? [w, w / aspect] : [t * aspect, t];
    strip.style.backgroundImage = `url("${this.#urls.filmstrip}")`;
    strip.style.backgroundSize = `${fw * columns}px ${fh * rows}px`;
    strip.style.clipPath = `inset(${(t - fh) / 2}px ${(w - fw) / 2}px)`;
    const x = (w - fw) / 2 - (frame % columns) * fw;
    const y = (t - fh) / 2 - Math.floor(frame / columns) * fh;
    strip.style.backgroundPosition = `${x}px ${y}px`;
    this.#thumb.querySelector('.at').style.width = `${((frame + 1) / count) * 100}%`;
    this.#thumb.classList.add('scrubbing');
  }

  #scrubByKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const count = this.#frames?.count ?? 10;
    this.#scrub(Math.min(0.999, Math.max(0, this.#part + step / count)));
  }
}

/** How the tiles of a filmstrip lie, as its WebVTT file says; nothing where there is none. */
function tilesOf(cues, image) {
  const tiles = [...cues.matchAll(/#xywh=(\d+),(\d+),(\d+),(\d+)/g)].map((found) => found.slice(1).map(Number));
  const [, , w, t] = tiles[0] ?? [];
  if (!w || !t) return null;
  const [columns, rows] = [Math.round(image.naturalWidth / w), Math.round(image.naturalHeight / t)];
  return { columns, rows, count: tiles.length, aspect: w / t };
}

/** How many pictures a filmstrip has without that: it is one row of them, each as wide as the recording is. */
function framesOf(image, media) {
  const { naturalWidth: w, naturalHeight: t } = image;
  const aspect = media?.width && media?.height ? media.width / media.height : 16 / 9;
  const columns = Math.max(1, Math.round(w / (t * aspect)));
  return { columns, rows: 1, count: columns, aspect: w / columns / t };
}

/** Whether what failed is the pushing: processing had made its files. */
const pushFailed = (rec) => Boolean(rec.push?.error) && !(rec.transcode?.error && rec.transcode.attempts >= rec.transcode.attempts_max);

function details(rec, open) {
  const rows = [
    ['Identifier', h('code', {}, rec.id)],
    rec.sha256 && ['SHA-256', h('code', {}, rec.sha256)],
    ['Came in by', { stream: 'Recorder', upload: 'Upload' }[rec.source] ?? rec.source],
    rec.media && ['Recorded as', [rec.container, rec.media.video, rec.media.audio].filter(Boolean).join(', ')],
    rec.account_id && ['Account', rec.account_id],
    rec.transcode?.error && ['Processing', errorText(rec.transcode.error)],
    rec.push?.error && ['Delivery', errorText(rec.push.error)],
    ...(rec.files ?? []).flatMap((file) => (file.pushed ?? []).map((push) => [`${file.kind} at ${push.destination}`, h('code', {}, push.location)])),
    rec.metadata?.camera && ['Camera', rec.metadata.camera],
    rec.metadata?.microphone && ['Microphone', rec.metadata.microphone],
    rec.metadata?.ip && ['From', rec.metadata.ip],
  ].filter(Boolean);
  return h('details', { class: 'more-facts', '.open': open }, h('summary', {}, 'Details'),
    h('dl', {}, rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value ?? '')])));
}

const errorText = (error) => (typeof error === 'string' ? error : error.sentence ?? error.detail ?? JSON.stringify(error));
