// A finished file on its way in: one POST, with progress, tried again while that makes sense.

const RETRY_MS = [1_000, 3_000, 8_000, 15_000];
const BUSY = new Set([0, 408, 429, 502, 503, 504]);

export class Upload extends EventTarget {
  #request = null;
  #timer = null;
  #cancelled = false;
  #attempt = 0;

  constructor({ node, env_id, env_hash, file }) {
    super();
    const url = new URL('/api/v1/ingest/upload', node);
    url.search = new URLSearchParams({ env_id, env_hash, name: file.name.slice(0, 256) });
    this.url = url.href;
    this.file = file;
  }

  start() {
    const request = new XMLHttpRequest();
    this.#request = request;
    request.open('POST', this.url);
    request.setRequestHeader('Content-Type', this.file.type || 'application/octet-stream');
    request.upload.onprogress = ({ loaded, total }) => this.#say('progress', { loaded, total });
    request.onload = () => {
      const answer = parse(request.responseText);
      if (request.status === 201 || request.status === 200) return this.#say('saved', answer);
      const seconds = Number(request.getResponseHeader('Retry-After')) || 0;
      return this.#failed({ ...answer, status: request.status }, seconds * 1000);
    };
    request.onerror = () => this.#failed({ status: 0 }, 0);
    request.send(this.file);
  }

  cancel() {
    this.#cancelled = true;
    clearTimeout(this.#timer);
    this.#request?.abort();
  }

  #failed(problem, wait_ms) {
    if (this.#cancelled) return;
    if (!BUSY.has(problem.status) || this.#attempt >= RETRY_MS.length) {
      this.#say('failed', problem);
      return;
    }
    const wait = Math.max(wait_ms, RETRY_MS[this.#attempt]);
    this.#attempt += 1;
    this.#say('waiting', { problem, wait_ms: wait });
    this.#timer = setTimeout(() => this.start(), wait);
  }

  #say(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
