// Camera, screen, microphone and MediaRecorder: what the browser gives, without any of the page.

/**
 * In the order of preference. VP8 is what every encoder keeps up with in real time and survives a
 * change of size; H.264 in WebM follows; MP4 is for browsers that record nothing else.
 */
const TYPES = [
  'video/webm;codecs=vp8,opus',
  'video/webm;codecs=h264,opus',
  'video/webm;codecs=vp9,opus',
  'video/webm',
  'video/mp4;codecs=avc1.42E01F,mp4a.40.2',
  'video/mp4',
];
const AUDIO_TYPES = ['audio/webm;codecs=opus', 'audio/mp4', 'audio/ogg;codecs=opus'];

/** The type to record in; `wished` is taken where the browser can do it. */
export function chooseType({ wished = null, video = true } = {}) {
  if (!globalThis.MediaRecorder) return null;
  const types = video ? TYPES : AUDIO_TYPES;
  const list = wished ? [wished, ...types] : types;
  return list.find((type) => MediaRecorder.isTypeSupported(type)) ?? '';
}

export const canCapture = () => Boolean(globalThis.isSecureContext && navigator.mediaDevices?.getUserMedia);
export const canShareScreen = () => Boolean(canCapture() && navigator.mediaDevices.getDisplayMedia);

/** `{ stream, remarks }`; `remarks` says what could not be had, such as `no-microphone`. */
export async function openCamera({ camera, microphone, width = 1280, height = 720 } = {}) {
  const video = {
    width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 },
    ...(camera ? { deviceId: { exact: camera } } : { facingMode: 'user' }),
  };
  const audio = microphone ? { deviceId: { exact: microphone } } : true;
  const ask = (constraints) => navigator.mediaDevices.getUserMedia(constraints);
  try {
    return { stream: await ask({ video, audio }), remarks: [] };
  } catch (error) {
    if (error.name === 'OverconstrainedError' && (camera || microphone)) {
      return openCamera({ width, height }); // a remembered device that is not there any more
    }
    if (error.name !== 'NotFoundError') throw error;
    const devices = await navigator.mediaDevices.enumerateDevices();
    const has = (kind) => devices.some((device) => device.kind === kind);
    if (has('videoinput') && !has('audioinput')) {
      return { stream: await ask({ video }), remarks: ['no-microphone'] };
    }
    throw error;
  }
}

/** The screen, its own sound where the browser shares it, and the microphone mixed in. */
export async function openScreen({ microphone } = {}) {
  const display = await navigator.mediaDevices.getDisplayMedia({
    video: { frameRate: { ideal: 30 } },
    audio: true,
    systemAudio: 'include',
  });
  const remarks = [];
  let voice = null;
  try {
    const audio = microphone ? { deviceId: { ideal: microphone } } : true;
    voice = await navigator.mediaDevices.getUserMedia({ audio });
  } catch {
    remarks.push('no-microphone');
  }
  const sounds = [display, voice].filter((stream) => stream?.getAudioTracks().length);
  const mixed = sounds.length > 1 ? mix(sounds) : null;
  const audio = mixed ? mixed.stream.getAudioTracks() : sounds[0]?.getAudioTracks() ?? [];
  const stream = new MediaStream([...display.getVideoTracks(), ...audio]);
  const close = () => {
    for (const source of [display, voice]) source?.getTracks().forEach((track) => track.stop());
    mixed?.context.close();
  };
  return { stream, remarks, close, voice };
}

function mix(streams) {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  for (const stream of streams) {
    context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(out);
  }
  context.resume?.();
  return { stream: out.stream, context };
}

/** `{ cameras, microphones }`, each a list of `{ id, label }`. */
export async function listDevices() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const of = (kind, name) => devices
    .filter((device) => device.kind === kind && device.deviceId)
    .map((device, i) => ({ id: device.deviceId, label: device.label || `${name} ${i + 1}` }));
  return { cameras: of('videoinput', 'Camera'), microphones: of('audioinput', 'Microphone') };
}

/** Calls `show(level)` with 0 to 1 for as long as it is open: -60 dB is 0, full scale is 1. */
export class Meter {
  #context;
  #timer = null;

  constructor(stream, show) {
    if (!stream.getAudioTracks().length) return;
    this.#context = new AudioContext();
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 1024;
    this.#context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(analyser);
    this.#context.resume?.();
    const samples = new Float32Array(analyser.fftSize);
    let level = 0;
    this.#timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      const db = 10 * Math.log10(sum / samples.length + 1e-9);
      const now = Math.min(1, Math.max(0, (db + 60) / 60));
      level = Math.max(now, level * 0.86); // falls slowly, so that it can be read
      show(level);
    }, 60);
  }

  close() {
    clearInterval(this.#timer);
    this.#context?.close();
  }
}

/** One run of MediaRecorder, with the time that was really recorded. */
export class Recorder extends EventTarget {
  #recorder;
  #before_ms = 0; // up to the last pause
  #since = null;
  #stopped;

  constructor(stream, { type, videoBitsPerSecond, audioBitsPerSecond, timeslice_ms = 500, onData }) {
    super();
    this.timeslice_ms = timeslice_ms;
    this.#recorder = new MediaRecorder(stream, {
      ...(type ? { mimeType: type } : {}),
      videoBitsPerSecond,
      audioBitsPerSecond,
    });
    this.#recorder.ondataavailable = ({ data }) => {
      if (data.size) onData(data);
    };
    this.#recorder.onerror = ({ error }) => {
      this.dispatchEvent(new CustomEvent('failed', { detail: error }));
    };
    this.#stopped = new Promise((resolve) => {
      this.#recorder.onstop = () => {
        this.#hold();
        resolve();
        this.dispatchEvent(new Event('stopped'));
      };
    });
  }

  get type() { return this.#recorder.mimeType; }
  get paused() { return this.#recorder.state === 'paused'; }
  get active() { return this.#recorder.state !== 'inactive'; }
  get elapsed_ms() {
    return this.#before_ms + (this.#since === null ? 0 : performance.now() - this.#since);
  }

  start() {
    this.#recorder.start(this.timeslice_ms);
    this.#since = performance.now(); // its `start` event comes with the first frame's encoding, later
  }

  pause() {
    if (this.#recorder.state !== 'recording') return;
    this.#recorder.pause();
    this.#hold();
  }

  resume() {
    if (!this.paused) return;
    this.#recorder.resume();
    this.#since = performance.now();
  }

  /** Done when the last data has been handed over. */
  stop() {
    if (this.active) {
      this.#hold();
      this.#recorder.stop();
    }
    return this.#stopped;
  }

  #hold() {
    this.#before_ms = this.elapsed_ms;
    this.#since = null;
  }
}
