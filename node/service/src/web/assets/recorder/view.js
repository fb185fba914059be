// What <holdfast-recorder> looks like in each of its states. It reads the host and calls its
// methods; it decides nothing.

import { button, clockTime, h, icon, save, size } from './dom.js';
import { ResultView } from './result.js';

/** A line that is gone for less than this is not worth a word, in milliseconds. */
const GONE_MS_MIN = 1_200;

const WORDS = {
  choose: 'Choose how to record.',
  opening: 'Waiting for permission to record.',
  ready: 'Ready to record.',
  starting: 'Starting.',
  recording: 'Recording.',
  paused: 'Paused.',
  review: 'Recording stopped. Watch it, then save it or record again.',
  saving: 'Saving.',
  uploading: 'Sending the file.',
  saved: 'Saved.',
  unfinished: 'There is an unfinished recording.',
  problem: '',
};

const TILES = {
  camera: { label: 'Camera', hint: 'Picture and sound' },
  screen: { label: 'Screen', hint: 'With your voice' },
  file: { label: 'File', hint: 'Choose or drop one' },
};

export class View {
  #host;
  #frame;
  #stage;
  #live;
  #playback;
  #panel;
  #badge;
  #meter;
  #banner;
  #bar;
  #foot;
  #say;
  #picker;
  #result;
  #shown = null;
  #keepsFocus = false;
  #parts = {}; // what `update` writes to
  #levels = [];
  #devices = { cameras: [], microphones: [] };
  #localUrl = null;
  #said = '';

  constructor(root, host) {
    this.#host = host;
    this.#live = h('video', { class: 'live', part: 'preview', '.muted': true, '.autoplay': true, '.playsInline': true, 'aria-label': 'Live preview' });
    this.#playback = h('video', { class: 'playback', part: 'playback', '.controls': true, '.playsInline': true, preload: 'auto', 'aria-label': 'The recording' });
    this.#playback.addEventListener('loadedmetadata', () => mendDuration(this.#playback));
    for (const video of [this.#live, this.#playback]) {
      video.addEventListener('resize', () => this.#fit(video));
      video.addEventListener('loadedmetadata', () => this.#fit(video));
    }
    this.#panel = h('div', { class: 'panel', part: 'panel' });
    this.#badge = h('div', { class: 'badge', part: 'timer' });
    this.#levels = Array.from({ length: 12 }, () => h('i'));
    this.#meter = h('div', { class: 'meter', part: 'meter', role: 'img', 'aria-label': 'Microphone level' }, icon('microphone'), h('span', {}, this.#levels));
    this.#stage = h('div', { class: 'stage', part: 'stage' }, this.#live, this.#playback, this.#panel, this.#badge, this.#meter);
    this.#banner = h('div', { class: 'banner', part: 'notice', role: 'status' });
    this.#bar = h('div', { class: 'bar', part: 'controls' });
    this.#foot = h('div', { class: 'foot', part: 'details' });
    this.#say = h('p', { class: 'unseen', role: 'status', 'aria-live': 'polite' });
    this.#picker = h('input', { type: 'file', class: 'unseen', tabindex: '-1', 'aria-hidden': 'true', accept: 'video/*,audio/*,.mkv,.webm,.mov,.mp4,.avi,.flv,.ts' });
    this.#picker.addEventListener('change', () => {
      host.sendFile(this.#picker.files[0]);
      this.#picker.value = '';
    });
    this.#frame = h('section', { class: 'frame', part: 'frame', 'aria-label': 'Recorder' },
      this.#stage, this.#banner, this.#bar, this.#foot, this.#say, this.#picker);
    this.#result = new ResultView(host, this.#playback);
    this.#listen();
    root.append(h('slot', { name: 'before' }), this.#frame, h('slot', {}));
  }

  #listen() {
    const drop = (on) => (event) => {
      if (!this.#takesFiles() || !event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      this.#stage.classList.toggle('dropping', on);
    };
    this.#frame.addEventListener('dragenter', drop(true));
    this.#frame.addEventListener('dragover', drop(true));
    this.#frame.addEventListener('dragleave', (event) => {
      if (!this.#frame.contains(event.relatedTarget)) drop(false)(event);
    });
    this.#frame.addEventListener('drop', (event) => {
      drop(false)(event);
      if (this.#takesFiles()) this.#host.sendFile(event.dataTransfer.files[0]);
    });
    this.#frame.addEventListener('keydown', (event) => this.#key(event));
  }

  #takesFiles() {
    return this.#host.sources.includes('file') && ['choose', 'problem'].includes(this.#host.state);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('select, input, video')) return;
    const { state } = this.#host;
    const key = event.key.toLowerCase();
    if (key === 'r' && state === 'ready') this.#host.start();
    else if (key === 'r' && (state === 'recording' || state === 'paused')) this.#host.stop();
    else if (key === 'p' && state === 'recording') this.#host.pause();
    else if (key === 'p' && state === 'paused') this.#host.resume();
  }

  // ── the whole picture ────────────────────────────────────────────────────────────────────────

  show() {
    const { state } = this.#host;
    if (this.#frame.contains(this.#frame.getRootNode().activeElement)) this.#keepsFocus = true;
    else if (document.activeElement && document.activeElement !== document.body && document.activeElement !== this.#host) this.#keepsFocus = false;
    const changed = state !== this.#shown;
    this.#shown = state;
    this.#frame.dataset.state = state;
    this.#parts = {};
    this.#live.classList.toggle('mirrored', this.#host.source === 'camera');
    if (!['recording', 'paused', 'review', 'saving', 'starting'].includes(state)) this.#stage.style.removeProperty('--ratio');
    this.#setLive(['ready', 'starting', 'recording', 'paused'].includes(state) ? this.#host.stream : null);
    if (!['review', 'saving', 'saved'].includes(state)) this.#forgetPlayback();
    if (state !== 'saved') this.#result.close();
    this.#panel.replaceChildren(...this.#panelOf(state));
    this.#bar.replaceChildren(...this.#barOf(state));
    this.#foot.replaceChildren(...this.#footOf(state));
    this.#panel.hidden = !this.#panel.childNodes.length;
    this.#bar.hidden = !this.#bar.childNodes.length;
    this.#foot.hidden = !this.#foot.childNodes.length;
    this.#meter.hidden = !['ready', 'recording'].includes(state) || !this.#host.stream?.getAudioTracks().length;
    if (state === 'review') this.showPlayback();
    this.update();
    if (changed) this.#announce(state === 'problem' ? `${this.#host.problem.title}. ${this.#host.problem.text}` : WORDS[state]);
    // Who was here stays here, also across a state that has nothing to put the focus on.
    const first = this.#frame.querySelector('[data-first]');
    if (this.#keepsFocus && changed && first) {
      first.focus();
      this.#keepsFocus = false;
    }
  }

  #announce(text) {
    if (text && text !== this.#said) this.#say.textContent = text;
    this.#said = text;
  }

  #setLive(stream) {
    if (this.#live.srcObject !== stream) this.#live.srcObject = stream;
    this.#live.hidden = !stream;
    if (stream) this.#live.play().catch(() => {});
  }

  /** The stage takes the picture's shape, within reason: a phone held upright fills no screen. */
  #fit(video) {
    if (video.hidden || !video.videoWidth) return;
    const ratio = Math.min(16 / 9, Math.max(3 / 4, video.videoWidth / video.videoHeight));
    this.#stage.style.setProperty('--ratio', String(ratio));
  }

  #panelOf(state) {
    const host = this.#host;
    switch (state) {
      case 'choose': return this.#choice();
      case 'opening': return [h('div', { class: 'spinner' }), h('h2', {}, 'Waiting for your permission'),
        h('p', {}, host.source === 'screen' ? 'Choose in the browser’s window what to share.' : 'The browser asks whether this page may use the camera and the microphone.')];
      case 'review':
      case 'saving': {
        this.#parts.waiting = h('p', {});
        return [h('div', { class: 'spinner' }), h('h2', {}, state === 'saving' ? 'Saving' : 'Sending the rest'), this.#parts.waiting];
      }
      case 'uploading': return [h('div', { class: 'medal' }, icon('file')), h('h2', { class: 'name' }, host.upload.file.name),
        ...this.#progressParts()];
      case 'saved': return this.#result.panel();
      case 'unfinished': return this.#unfinishedPanel();
      case 'problem': return this.#problemPanel();
      default: return [];
    }
  }

  #choice() {
    const { sources, abilities } = this.#host;
    const tiles = sources.map((source, i) => {
      const able = abilities[source] === true;
      const act = source === 'file' ? () => this.#picker.click() : () => this.#host.open(source);
      return h('button', { class: 'tile', part: 'tile', type: 'button', onclick: act, 'data-first': i === 0, 'data-source': source, 'aria-disabled': able ? null : 'true' },
        icon(source), h('b', {}, TILES[source].label), h('small', {}, able ? TILES[source].hint : 'Not available here'));
    });
    const missing = sources.map((source) => abilities[source]).find((able) => able !== true);
    return [
      h('slot', { name: 'intro' }, h('h2', {}, sources.length > 1 ? 'What would you like to record?' : 'Ready when you are')),
      h('div', { class: 'tiles' }, tiles),
      missing && sources.some((source) => abilities[source] !== true && source === 'camera') && h('p', { class: 'aside' }, `${missing.title}. ${missing.text}`),
    ].filter(Boolean);
  }

  #progressParts() {
    this.#parts.bar = h('progress', { max: '1', value: '0', 'aria-label': 'Progress' });
    this.#parts.detail = h('p', { class: 'figures' });
    return [this.#parts.bar, this.#parts.detail];
  }

  #unfinishedPanel() {
    const { adopted, link } = this.#host.session;
    if (!adopted) {
      return [h('div', { class: 'spinner' }), h('h2', {}, 'You have an unfinished recording'),
        h('p', {}, link.retry_at ? 'The node cannot be reached. Trying again.' : 'Asking the node how much of it arrived.'),
        h('div', { class: 'actions' }, button('Leave it', { onclick: () => this.#host.discard() }))];
    }
    const saved = adopted.state === 'saved';
    return [h('div', { class: 'medal' }, icon('clock')), h('h2', {}, 'You have an unfinished recording'),
      h('p', {}, saved ? 'The node has saved it already.' : `${size(adopted.offset)} of it are safe on the node. Save it, or throw it away.`),
      h('div', { class: 'actions' },
        button('Discard', { onclick: () => this.#host.discard(), kind: 'quiet', glyph: 'trash' }),
        button(saved ? 'Show it' : 'Save it', { onclick: () => this.#host.save(), kind: 'primary', glyph: 'check', first: true }))];
  }

  #problemPanel() {
    const { problem, source } = this.#host;
    const again = problem.file ? () => this.#host.sendFile(problem.file)
      : source && source !== 'file' ? () => this.#host.open(source) : null;
    return [h('div', { class: 'medal bad' }, icon('warn')), h('h2', {}, problem.title), h('p', {}, problem.text),
      h('div', { class: 'actions' },
        button('Back', { onclick: () => this.#host.reset(), kind: 'quiet', glyph: 'back', first: !again }),
        problem.copy && button('Keep a copy', { onclick: () => save(problem.copy, `recording.${problem.copy.type.includes('mp4') ? 'mp4' : 'webm'}`), glyph: 'download' }),
        again && button('Try again', { onclick: again, kind: 'primary', glyph: 'again', first: true }))];
  }

  // ── controls ─────────────────────────────────────────────────────────────────────────────────

  #barOf(state) {
    const host = this.#host;
    const [left, centre, right] = [[], [], []];
    switch (state) {
      case 'ready':
      case 'starting':
        left.push(button('Back', { onclick: () => host.reset(), kind: 'quiet', glyph: 'back' }));
        centre.push(round('Record', { onclick: () => host.start(), kind: 'record', busy: state === 'starting', shortcut: 'R' }));
        break;
      case 'recording':
      case 'paused': {
        const paused = state === 'paused';
        this.#parts.time = h('span', { class: 'time', part: 'time' });
        left.push(this.#parts.time);
        centre.push(paused
          ? round('Resume', { onclick: () => host.resume(), kind: 'plain', glyph: 'record', shortcut: 'P', first: true })
          : round('Pause', { onclick: () => host.pause(), kind: 'plain', glyph: 'pause', shortcut: 'P' }),
        round('Stop', { onclick: () => host.stop(), kind: 'record stop', shortcut: 'R', first: !paused }));
        this.#parts.link = h('span', { class: 'chip' });
        right.push(this.#parts.link);
        break;
      }
      case 'review':
        left.push(button('Record again', { onclick: () => host.discard(), kind: 'quiet', glyph: 'again' }));
        this.#parts.link = h('span', { class: 'chip' });
        centre.push(this.#parts.link);
        right.push(button('Save recording', { onclick: () => host.save(), kind: 'primary', glyph: 'check', first: true }));
        break;
      case 'uploading':
        centre.push(button('Cancel', { onclick: () => host.reset(), kind: 'quiet', glyph: 'close', first: true }));
        break;
      case 'saved':
        return this.#result.bar();
      default:
        return [];
    }
    return [h('div', { class: 'left' }, left), h('div', { class: 'centre' }, centre), h('div', { class: 'right' }, right)];
  }

  #footOf(state) {
    if (state === 'ready') return this.#deviceRow();
    if (state === 'saved') return this.#result.foot();
    return [];
  }

  #deviceRow() {
    const { cameras, microphones } = this.#devices;
    const { source, stream, wish } = this.#host;
    const choice = (kind, list, tracks) => {
      const current = tracks[0]?.getSettings().deviceId ?? wish[kind];
      const select = h('select', { 'aria-label': kind === 'camera' ? 'Camera' : 'Microphone', onchange: () => this.#host.useDevice(kind, select.value) },
        list.map(({ id, label }) => h('option', { value: id, '.selected': id === current }, label)));
      return h('label', { class: 'device' }, icon(kind), select);
    };
    const row = [];
    if (source === 'camera' && cameras.length) row.push(choice('camera', cameras, stream?.getVideoTracks() ?? []));
    if (source === 'camera' && microphones.length) row.push(choice('microphone', microphones, stream?.getAudioTracks() ?? []));
    return row;
  }

  setDevices(devices) {
    this.#devices = devices;
    if (this.#host.state !== 'ready') return;
    this.#foot.replaceChildren(...this.#deviceRow());
    this.#foot.hidden = !this.#foot.childNodes.length;
  }

  setLevel(level) {
    const lit = Math.round(level * this.#levels.length);
    this.#levels.forEach((bar, i) => bar.classList.toggle('lit', i < lit));
  }

  // ── small changes ────────────────────────────────────────────────────────────────────────────

  update() {
    const { state, session, upload } = this.#host;
    this.#updateTime(state);
    if (session) this.#updateLink(state, session);
    if (upload && this.#parts.bar) {
      this.#parts.bar.value = upload.file.size ? upload.loaded / upload.file.size : 0;
      this.#parts.detail.textContent = upload.loaded >= upload.file.size
        ? 'Waiting until it is on disk at the node' : `${size(upload.loaded)} of ${size(upload.file.size)}`;
    }
    this.#updateBanner(state, session);
  }

  #updateTime(state) {
    const { elapsedMs, maxSeconds } = this.#host;
    const live = state === 'recording' || state === 'paused';
    this.#badge.hidden = !live;
    if (!live) return;
    const time = clockTime(elapsedMs) + (maxSeconds ? ` / ${clockTime(maxSeconds * 1000)}` : '');
    this.#parts.time.textContent = time;
    const word = state === 'paused' ? 'Paused' : 'Recording';
    if (this.#badge.textContent !== word) this.#badge.replaceChildren(h('i', {}), word);
  }

  #updateLink(state, session) {
    const { acked, total, waiting, link, durable } = session;
    const gone = !link.up && performance.now() - link.since > GONE_MS_MIN;
    if (this.#parts.waiting) {
      this.#parts.waiting.textContent = waiting ? `${size(acked)} of ${size(total)} are safe on the node` : 'All of it is on its way to disk.';
    }
    if (this.#parts.link) {
      const [mood, text] = gone ? ['bad', `${size(waiting)} waiting here`]
        : durable ? ['good', `All ${size(total)} safe on the node`]
          : ['good', `${size(acked)} safe on the node`];
      const glyph = gone ? 'unlink' : 'shield';
      this.#parts.link.dataset.mood = mood;
      this.#parts.link.replaceChildren(icon(glyph), text);
    }
    if (state === 'unfinished' && this.#parts.asked !== Boolean(session.adopted) + (link.retry_at ? 'x' : '')) {
      this.#parts.asked = Boolean(session.adopted) + (link.retry_at ? 'x' : '');
      this.#panel.replaceChildren(...this.#unfinishedPanel());
    }
  }

  #updateBanner(state, session) {
    const text = this.#bannerText(state, session);
    const mood = text && session && !session.link.up ? 'gone' : 'remark';
    if (this.#banner.textContent !== text) {
      this.#banner.replaceChildren(...(text ? [icon(mood === 'gone' ? 'unlink' : 'warn'), h('span', {}, text)] : []));
    }
    this.#banner.dataset.mood = mood;
    this.#banner.hidden = !text;
  }

  #bannerText(state, session) {
    const { remark } = this.#host;
    const { link } = session ?? {};
    const watched = ['recording', 'paused', 'review', 'saving'].includes(state);
    if (watched && link && !link.up && performance.now() - link.since > GONE_MS_MIN) {
      const what = { 507: 'The node is full', 429: 'The node is busy', 503: 'The node is restarting' }[link.problem?.status] ?? 'The connection to the node is gone';
      const then = state === 'recording' || state === 'paused'
        ? 'Recording goes on; what the node does not have yet is kept here and sent when the line is back.'
        : 'What the node does not have yet is kept here and sent when the line is back. Leave this page open.';
      const spilled = session.spilled ? ` ${size(session.spilled)} of it are on this computer’s disk.` : '';
      return `${what}. ${then}${spilled}`;
    }
    return remark ?? '';
  }

  // ── playback ─────────────────────────────────────────────────────────────────────────────────

  /** Plays from the node once all of it is durable there; until then from here, if it still can. */
  async showPlayback() {
    const { session, state } = this.#host;
    if (!session || !['review', 'saving'].includes(state)) return;
    this.update();
    if (session.durable && session.playbackUrl) {
      this.#play(session.playbackUrl);
      return;
    }
    if (this.#localUrl || this.#playback.src) return;
    const blob = await session.localBlob().catch(() => null);
    if (blob && this.#host.session === session && this.#host.state === 'review' && !this.#playback.src) {
      this.#localUrl = URL.createObjectURL(blob);
      this.#play(this.#localUrl);
    }
  }

  #play(url) {
    if (this.#playback.src !== url) {
      const playing = Boolean(this.#playback.src) && this.#playback.currentTime > 0 && !this.#playback.paused;
      if (playing) return; // from here, and being watched: the same bytes
      this.#playback.src = url;
      this.#playback.dataset.from = url === this.#localUrl ? 'here' : 'node';
    }
    this.#playback.hidden = false;
    this.#panel.hidden = this.#host.state === 'review';
  }

  #forgetPlayback() {
    this.#playback.pause();
    this.#playback.hidden = true;
    this.#playback.removeAttribute('src');
    this.#playback.removeAttribute('poster');
    delete this.#playback.dataset.from;
    this.#playback.load();
    if (this.#localUrl) URL.revokeObjectURL(this.#localUrl);
    this.#localUrl = null;
  }

  showOutcome(status) {
    if (this.#host.state !== 'saved') return;
    this.#result.show(status, {
      forget: () => this.#forgetPlayback(),
      panel: this.#panel, bar: this.#bar, foot: this.#foot,
      announce: (text) => this.#announce(text),
    });
  }
}

/** What MediaRecorder makes has no length in its head; seeking beyond the end makes it known. */
function mendDuration(video) {
  if (video.duration !== Infinity) return;
  const back = () => {
    if (video.duration === Infinity) return;
    video.removeEventListener('durationchange', back);
    video.currentTime = 0;
  };
  video.addEventListener('durationchange', back);
  video.currentTime = 1e7;
}

function round(label, { onclick, kind, glyph = null, busy = false, shortcut, first = true }) {
  return h('button', { type: 'button', class: `round ${kind}`, part: `round ${kind}`, onclick, 'data-first': first, 'aria-busy': busy ? 'true' : null, 'aria-disabled': busy ? 'true' : null, 'aria-keyshortcuts': shortcut },
    h('span', { class: 'disc' }, glyph && icon(glyph)), h('small', {}, label));
}
