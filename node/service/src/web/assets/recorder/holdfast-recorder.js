// <holdfast-recorder>: records a camera, a screen or takes a file, and sees it safely to the node.
// Attributes, properties, events, methods and parts are described in docs/recorder.md.

import { chooseType, canCapture, canShareScreen, listDevices, Meter, openCamera, openScreen } from './capture.js';
import { size } from './dom.js';
import { Outcome, FINAL_STATES } from './outcome.js';
import { captureProblem, INSECURE, nodeProblem, NO_RECORDER, transportProblem } from './problems.js';
import { Session } from './session.js';
import { Disk, Unfinished } from './store.js';
import { sheets } from './styles.js';
import { Upload } from './upload.js';
import { View } from './view.js';

const SOURCES = ['camera', 'screen', 'file'];
const DEVICES_KEY = 'holdfast-devices';

export class HoldfastRecorder extends HTMLElement {
  static observedAttributes = ['env-id', 'hash', 'node', 'sources'];

  #view;
  #state = 'choose';
  #source = null;
  #opened = null; // { stream, remarks, close }
  #meter = null;
  #session = null;
  #upload = null;
  #outcome = null;
  #saved = null; // { recording_id, token } of what is being processed
  #clock = null;
  #unfinished = null;
  #problem = null;
  #remark = null;
  #progress = 0;
  #wish = {};
  #leave = (event) => this.#warnBeforeLeaving(event);
  #devicesChanged = () => this.#refreshDevices();

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open', delegatesFocus: true });
    root.adoptedStyleSheets = sheets;
    this.#view = new View(root, this);
    try {
      this.#wish = JSON.parse(localStorage.getItem(DEVICES_KEY)) ?? {};
    } catch {
      this.#wish = {};
    }
  }

  // ── attributes ───────────────────────────────────────────────────────────────────────────────

  get node() { return new URL(this.getAttribute('node') || import.meta.url, document.baseURI).origin; }
  get envId() { return this.getAttribute('env-id') ?? ''; }
  get envHash() { return this.getAttribute('hash') ?? ''; }
  get sources() {
    const wanted = (this.getAttribute('sources') ?? SOURCES.join(' ')).split(/[\s,]+/);
    return SOURCES.filter((source) => wanted.includes(source));
  }
  get maxSeconds() { return this.#number('max-seconds', 0); }
  get autoSave() { return this.hasAttribute('auto-save'); }

  #number(name, otherwise) {
    const value = Number(this.getAttribute(name));
    return Number.isFinite(value) && value > 0 ? value : otherwise;
  }

  // ── what can be asked of it ──────────────────────────────────────────────────────────────────

  get state() { return this.#state; }
  get source() { return this.#source; }
  get session() { return this.#session; }
  get stream() { return this.#opened?.stream ?? null; }
  get problem() { return this.#problem; }
  get remark() { return this.#remark; }
  get progress() { return this.#progress; }
  get upload() { return this.#upload; }
  get outcome() { return this.#outcome; }
  get wish() { return this.#wish; }
  get recordingId() { return this.#saved?.recording_id ?? this.#session?.recordingId ?? null; }
  get sha256() { return this.#saved?.sha256 ?? this.#session?.sha256 ?? null; }
  get elapsedMs() { return this.#session?.recorder?.elapsed_ms ?? 0; }

  /** What this browser can do here: `{ camera, screen, file }`, each true or a problem. */
  get abilities() {
    const none = !globalThis.isSecureContext ? INSECURE : NO_RECORDER;
    const records = canCapture() && globalThis.MediaRecorder;
    return {
      camera: records ? true : none,
      screen: records && canShareScreen() ? true : none,
      file: true,
    };
  }

  // ── life ─────────────────────────────────────────────────────────────────────────────────────

  connectedCallback() {
    addEventListener('beforeunload', this.#leave);
    navigator.mediaDevices?.addEventListener?.('devicechange', this.#devicesChanged);
    Disk.sweep().catch(() => {});
    this.#greet();
  }

  disconnectedCallback() {
    removeEventListener('beforeunload', this.#leave);
    navigator.mediaDevices?.removeEventListener?.('devicechange', this.#devicesChanged);
    this.#session?.stop();
    this.#closeCapture();
    this.#session?.close();
    this.#upload?.cancel();
    this.#outcome?.close();
    clearInterval(this.#clock);
  }

  attributeChangedCallback() {
    if (this.isConnected && (this.#state === 'choose' || this.#state === 'unfinished')) this.#greet();
  }

  /** The first thing shown: an unfinished recording of this tab, else the choice. */
  #greet() {
    if (this.#state === 'unfinished' && this.#session) this.#session.close();
    this.#session = null;
    this.#unfinished = new Unfinished(this.node, this.envId);
    const known = this.envId ? this.#unfinished.recall() : null;
    if (!known) {
      this.#go('choose');
      return;
    }
    this.#session = this.#newSession();
    this.#session.adopt(known);
    this.#go('unfinished');
  }

  #go(state) {
    this.#state = state;
    clearInterval(this.#clock);
    if (state === 'recording' || state === 'paused' || state === 'review' || state === 'saving' || state === 'unfinished') {
      this.#clock = setInterval(() => this.#tick(), 200);
    }
    this.#view.show();
  }

  #tick() {
    this.#view.update();
    if (this.#state === 'recording' && this.maxSeconds && this.elapsedMs >= this.maxSeconds * 1000) {
      this.#remark = 'The longest time allowed here has been reached.';
      this.stop();
    }
  }

  #say(what, detail = {}) {
    const options = { detail: { recordingId: this.recordingId, ...detail }, bubbles: true, composed: true };
    this.dispatchEvent(new CustomEvent(`holdfast-${what}`, options));
  }

  #fail(problem, detail = {}) {
    this.#problem = problem;
    this.#say('error', { ...problem, ...detail });
    this.#go('problem');
  }

  // ── choosing and opening ─────────────────────────────────────────────────────────────────────

  async open(source) {
    if (!this.envId) return this.#fail(nodeProblem({ status: 400 }));
    const able = this.abilities[source];
    if (able !== true) return this.#fail(able);
    this.#source = source;
    this.#remark = null;
    this.#go('opening');
    this.#closeCapture();
    try {
      const wish = { camera: this.#wish.camera, microphone: this.#wish.microphone };
      const opened = await (source === 'screen' ? openScreen(wish) : openCamera(wish));
      if (this.#state !== 'opening') {
        close(opened);
        return undefined;
      }
      this.#adoptCapture(opened);
      this.#go('ready');
      this.#refreshDevices();
    } catch (error) {
      if (this.#state === 'opening') this.#fail(captureProblem(error, source), { source });
    }
    return undefined;
  }

  #adoptCapture(opened) {
    this.#opened = opened;
    if (opened.remarks.includes('no-microphone')) {
      this.#remark = 'There is no microphone: this will be recorded without sound.';
    }
    this.#meter = new Meter(opened.stream, (level) => this.#view.setLevel(level));
    for (const track of opened.stream.getTracks()) {
      track.addEventListener('ended', () => this.#trackEnded(track));
    }
  }

  #trackEnded(track) {
    if (this.#state === 'recording' || this.#state === 'paused') {
      if (track.kind !== 'video' && this.stream?.getVideoTracks().some((t) => t.readyState === 'live')) {
        this.#remark = 'The microphone is gone: recording goes on without sound.';
        this.#view.update();
        return;
      }
      this.#remark = this.#source === 'screen'
        ? 'Sharing was ended. What was recorded is kept.'
        : 'The camera is gone. What was recorded is kept.';
      this.stop();
    } else if (this.#state === 'ready') {
      this.reset();
    }
  }

  #closeCapture() {
    this.#meter?.close();
    this.#meter = null;
    if (this.#opened) close(this.#opened);
    this.#opened = null;
  }

  async #refreshDevices() {
    if (this.#state !== 'ready') return;
    this.#view.setDevices(await listDevices().catch(() => ({ cameras: [], microphones: [] })));
  }

  /** Another camera or microphone, by its device id; remembered for the next time. */
  async useDevice(kind, id) {
    this.#wish = { ...this.#wish, [kind]: id };
    try {
      localStorage.setItem(DEVICES_KEY, JSON.stringify(this.#wish));
    } catch {
      // Not remembered, then.
    }
    if (this.#source === 'camera') await this.open('camera');
  }

  // ── recording ────────────────────────────────────────────────────────────────────────────────

  #newSession() {
    const session = new Session({
      node: this.node, env_id: this.envId, env_hash: this.envHash, unfinished: this.#unfinished,
    });
    const on = (what, act) => session.addEventListener(what, ({ detail }) => {
      if (session === this.#session) act(detail);
    });
    on('change', () => {
      this.#view.update();
      this.#say('progress', { phase: 'sending', sent: session.acked, total: session.total });
    });
    on('adopted', () => this.#view.show());
    on('durable', () => this.#view.showPlayback());
    on('saved', (detail) => this.#whenSaved({
      recording_id: session.recordingId, token: session.token, sha256: session.sha256, recovered: detail.recovered,
    }));
    on('discarded', () => {
      if (this.#state === 'unfinished') this.reset();
    });
    on('failed', (detail) => this.#whenFailed(detail));
    on('full', () => {
      this.#remark = 'This browser has no room for more while the node cannot be reached. The recording was stopped; all of it is kept and will be sent.';
      this.stop();
    });
    on('recorder-failed', (error) => {
      this.#remark = `The browser stopped recording: ${error?.message ?? 'it gave no reason'}. What was recorded is kept.`;
      this.stop();
    });
    on('stopped', () => this.#whenStopped());
    return session;
  }

  async start() {
    if (this.#state !== 'ready') return;
    const stream = this.stream;
    const video = stream.getVideoTracks().length > 0;
    const type = chooseType({ wished: this.getAttribute('mime'), video });
    const label = (tracks) => tracks[0]?.label?.slice(0, 256) || null;
    this.#session = this.#newSession();
    this.#remark = null;
    this.#go('starting');
    try {
      await this.#session.begin({
        stream,
        type,
        videoBitsPerSecond: this.#number('video-bits-per-second', this.#source === 'screen' ? 3_500_000 : 2_500_000),
        audioBitsPerSecond: this.#number('audio-bits-per-second', 128_000),
        timeslice_ms: this.#number('timeslice-ms', 500),
        metadata: {
          name: this.getAttribute('name')?.slice(0, 256) || null,
          camera: this.#source === 'screen' ? null : label(stream.getVideoTracks()),
          microphone: label((this.#opened.voice ?? stream).getAudioTracks()),
        },
      });
    } catch (error) {
      this.#session.close();
      this.#session = null;
      if (error?.kind) this.#closeCapture();
      this.#fail(error?.kind ? transportProblem(error, size) : captureProblem(error, this.#source));
      return;
    }
    this.#go('recording');
    this.#say('started');
  }

  pause() {
    if (this.#state !== 'recording') return;
    this.#session.pause();
    this.#go('paused');
  }

  resume() {
    if (this.#state !== 'paused') return;
    this.#session.resume();
    this.#go('recording');
  }

  async stop() {
    if (this.#state === 'recording' || this.#state === 'paused') await this.#session.stop();
  }

  #whenStopped() {
    this.#closeCapture();
    this.#say('stopped', { lengthMs: Math.round(this.elapsedMs), bytes: this.#session.total });
    if (this.#session.failed) return;
    if (this.autoSave) this.save();
    else this.#go('review');
  }

  save() {
    if (this.#state === 'unfinished' && !this.#session.adopted) return;
    this.#go('saving');
    this.#session.save();
  }

  /** Throws the recording away and begins again. */
  discard() {
    const source = this.#source;
    const old = this.#session;
    if (old) {
      old.addEventListener('discarded', () => old.close());
      old.addEventListener('failed', () => old.close());
      old.discard();
      this.#unfinished.forget();
      this.#session = null;
    }
    this.reset();
    if (source && source !== 'file') this.open(source);
  }

  async #whenFailed(detail) {
    const session = this.#session;
    const problem = transportProblem(detail, size);
    const early = this.#state === 'starting';
    if (early) return; // `start` hears of it
    if (this.#state === 'recording' || this.#state === 'paused') await session.stop();
    this.#closeCapture();
    const copy = session.recorder ? await session.localBlob().catch(() => null) : null;
    this.#fail({ ...problem, copy }, { problem: detail.problem ?? null });
  }

  // ── files ────────────────────────────────────────────────────────────────────────────────────

  sendFile(file) {
    if (!file || (this.#state !== 'choose' && this.#state !== 'problem')) return;
    if (!this.envId) {
      this.#fail(nodeProblem({ status: 400 }));
      return;
    }
    this.#source = 'file';
    const upload = new Upload({ node: this.node, env_id: this.envId, env_hash: this.envHash, file });
    this.#upload = upload;
    this.#remark = null;
    const on = (what, act) => upload.addEventListener(what, ({ detail }) => {
      if (upload === this.#upload) act(detail);
    });
    on('progress', ({ loaded, total }) => {
      upload.loaded = loaded;
      this.#remark = null;
      this.#view.update();
      this.#say('progress', { phase: 'sending', sent: loaded, total });
    });
    on('waiting', ({ problem }) => {
      const { title } = nodeProblem(problem);
      this.#remark = `${title}. Sending starts again by itself.`;
      upload.loaded = 0;
      this.#view.update();
    });
    on('failed', (problem) => this.#fail({ ...nodeProblem(problem), file }, { problem }));
    on('saved', ({ id, token, sha256 }) => this.#whenSaved({ recording_id: id, token, sha256 }));
    upload.loaded = 0;
    this.#go('uploading');
    upload.start();
  }

  // ── afterwards ───────────────────────────────────────────────────────────────────────────────

  #whenSaved(saved) {
    this.#saved = saved;
    this.#session?.close();
    this.#upload = null;
    this.#progress = 0;
    this.#remark = saved.recovered ? 'The node had saved it by itself already.' : null;
    this.#say('saved', { sha256: saved.sha256 });
    const outcome = new Outcome({ node: this.node, ...saved });
    this.#outcome = outcome;
    this.#go('saved');
    const on = (what, act) => outcome.addEventListener(what, ({ detail }) => {
      if (outcome === this.#outcome) act(detail);
    });
    on('status', (status) => {
      this.#progress = status.progress ?? 0;
      this.#say('progress', { phase: 'processing', state: status.state, progress: this.#progress });
      this.#view.showOutcome(status);
      if (!FINAL_STATES.has(status.state)) return;
      this.#say('done', { state: status.state, files: status.files ?? [] });
    });
    on('unreachable', () => this.#view.showOutcome(null));
    on('gone', (problem) => this.#fail(nodeProblem(problem), { problem }));
    outcome.start();
  }

  /** Back to the choice. What the node has stays there. */
  reset() {
    this.#closeCapture();
    this.#upload?.cancel();
    this.#upload = null;
    this.#outcome?.close();
    this.#outcome = null;
    this.#saved = null;
    this.#session?.close();
    this.#session = null;
    this.#source = null;
    this.#problem = null;
    this.#remark = null;
    this.#go('choose');
  }

  #warnBeforeLeaving(event) {
    const open = ['recording', 'paused', 'review', 'saving', 'uploading', 'starting'];
    if (!open.includes(this.#state)) return;
    event.preventDefault();
    event.returnValue = '';
  }
}

function close(opened) {
  opened.close?.();
  opened.stream.getTracks().forEach((track) => track.stop());
}

if (!customElements.get('holdfast-recorder')) {
  customElements.define('holdfast-recorder', HoldfastRecorder);
}
