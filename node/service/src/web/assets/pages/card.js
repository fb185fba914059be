// One recording of the list: what it is, where it stands, and what can be done with it.

import { button, clockTime, h, icon, size } from '/recorder/v1/dom.js';

const STATES = {
  receiving: ['Receiving', 'busy'],
  stopped: ['Stopped', 'warn'],
  saved: ['Saved', 'busy'],
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
export const MOVING = new Set(['receiving', 'stopped', 'saved', 'processing', 'delivering']);

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
  #urls = {};
  #frames = null;
  #thumb;
  #facts = h('div', { class: 'facts' });
  #buttons = h('div', { class: 'acts' });
  #seen = false;

  /** `acts`: picture(url), play(recording), download(recording), remove(recording). */
  constructor(acts) {
    this.#acts = acts;
    this.#thumb = h('button', { type: 'button', class: 'thumb', onclick: () => acts.play(this.#recording) });
    this.#thumb.addEventListener('pointermove', (event) => this.#scrub(event.offsetX / this.#thumb.clientWidth));
    this.#thumb.addEventListener('pointerleave', () => this.#thumb.classList.remove('scrubbing'));
    this.#thumb.addEventListener('blur', () => this.#thumb.classList.remove('scrubbing'));
    this.#thumb.addEventListener('keydown', (event) => this.#scrubByKey(event));
    this.element = h('li', { class: 'recording' }, this.#thumb, this.#facts, this.#buttons);
  }

  get recording() { return this.#recording; }

  show(recording) {
    const told = JSON.stringify(recording);
    if (told === this.#told) return;
    this.#told = told;
    this.#recording = recording;
    this.element.dataset.id = recording.id;
    this.element.dataset.state = recording.state;
    const open = this.#facts.querySelector('details')?.open ?? false;
    this.#facts.replaceChildren(...this.#factsOf(recording, open));
    this.#showButtons(recording);
    this.#showThumb();
    if (this.#seen) this.#loadSnapshot();
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
    const attempt = [rec.transcode, rec.push].find((step) => step?.next_at);
    return [
      h('div', { class: 'title' }, h('h2', { title: rec.id }, titleOf(this.#recording)), h('span', { class: 'chip', 'data-mood': mood }, word),
        rec.recovered && h('span', { class: 'chip', title: 'The client did not come back; what had arrived was kept.' }, 'Recovered')),
      h('div', { class: 'meta' }, meta),
      rec.state === 'processing' && h('progress', { max: '1', value: rec.progress ?? 0, 'aria-label': 'Processing' }),
      attempt && h('p', { class: 'next' }, icon('clock'), h('span', {}, `Attempt ${attempt.attempts + 1} of ${attempt.attempts_max}: `, instant(attempt.next_at))),
      rec.explain && h('p', { class: 'explain' }, rec.explain),
      details(rec, open),
    ].filter(Boolean);
  }

  #showButtons(rec) {
    const act = (label, glyph, kind, onclick) => {
      const made = button(label, { onclick, glyph, kind });
      made.querySelector('span').className = 'unseen';
      made.title = label;
      made.setAttribute('aria-label', `${label}: ${titleOf(this.#recording)}`);
      return made;
    };
    const main = within(fileOf(rec, 'main')) || within(fileOf(rec, 'raw'));
    this.#buttons.replaceChildren(...[
      main && act('Download', 'download', '', () => this.#acts.download(rec)),
      rec.state !== 'deleted' && act('Delete', 'trash', 'bad', () => this.#acts.remove(rec)),
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
      this.#frames = framesOf(image, this.#recording.media);
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

/** How many pictures a filmstrip has: it is one row of them, each as wide as the recording is. */
function framesOf(image, media) {
  const { naturalWidth: w, naturalHeight: t } = image;
  const aspect = media?.width && media?.height ? media.width / media.height : 16 / 9;
  const columns = Math.max(1, Math.round(w / (t * aspect)));
  return { columns, rows: 1, count: columns, aspect: w / columns / t };
}

function details(rec, open) {
  const rows = [
    ['Identifier', h('code', {}, rec.id)],
    rec.sha256 && ['SHA-256', h('code', {}, rec.sha256)],
    ['Came in by', { stream: 'Recorder', upload: 'Upload' }[rec.source] ?? rec.source],
    rec.media && ['Recorded as', [rec.container, rec.media.video, rec.media.audio].filter(Boolean).join(', ')],
    rec.transcode?.error && ['Processing', errorText(rec.transcode.error)],
    rec.push?.error && ['Delivery', errorText(rec.push.error)],
    ...(rec.files ?? []).flatMap((file) => (file.pushed ?? []).map((push) => [`${file.kind} at ${push.destination}`, h('code', {}, push.location)])),
    rec.metadata?.camera && ['Camera', rec.metadata.camera],
    rec.metadata?.microphone && ['Microphone', rec.metadata.microphone],
    rec.metadata?.ip && ['From', rec.metadata.ip],
  ].filter(Boolean);
  return h('details', { '.open': open }, h('summary', {}, 'Details'),
    h('dl', {}, rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value ?? '')])));
}

const errorText = (error) => (typeof error === 'string' ? error : error.sentence ?? error.detail ?? JSON.stringify(error));
