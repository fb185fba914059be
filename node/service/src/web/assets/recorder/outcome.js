// What became of a saved recording: asks the node, with growing pauses, until nothing more is to
// come; and fetches its files, which need the token in a header, as object URLs.

const POLL_MS_MIN = 1_000;
const POLL_MS_MAX = 15_000;
export const FINAL_STATES = new Set(['stored', 'delivered', 'failed', 'garbage', 'deleted']);

/** Larger files are not drawn into the page; they can be downloaded. In bytes. */
export const PLAY_BYTES_MAX = 512 << 20;

export class Outcome extends EventTarget {
  #url;
  #token;
  #timer = null;
  #pause = POLL_MS_MIN;
  #last = '';
  #closed = false;

  constructor({ node, recording_id, token }) {
    super();
    this.node = node;
    this.#url = new URL(`/api/v1/ingest/recordings/${encodeURIComponent(recording_id)}`, node).href;
    this.#token = token;
  }

  start() {
    this.#ask();
    return this;
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #ask() {
    let status = null;
    try {
      const answer = await fetch(this.#url, this.#init());
      if (answer.ok) status = await answer.json();
      else if (answer.status === 404 || answer.status === 401) {
        return this.#say('gone', await problemOf(answer));
      }
    } catch {
      // No line to the node just now; asked again below.
    }
    if (this.#closed) return undefined;
    if (!status) {
      this.#say('unreachable', {});
    } else {
      this.#say('status', status);
      const news = JSON.stringify([status.state, status.progress, status.files]);
      if (news !== this.#last) this.#pause = POLL_MS_MIN;
      this.#last = news;
      if (FINAL_STATES.has(status.state)) return undefined;
    }
    this.#timer = setTimeout(() => this.#ask(), this.#pause * (0.85 + Math.random() * 0.3));
    this.#pause = Math.min(this.#pause * 1.4, POLL_MS_MAX);
    return undefined;
  }

  #init() {
    return { headers: { Authorization: `Bearer ${this.#token}` }, cache: 'no-store' };
  }

  /** @returns {Promise<Blob>} */
  async file(url) {
    const answer = await fetch(new URL(url, this.node), this.#init());
    if (!answer.ok) throw await problemOf(answer);
    return answer.blob();
  }

  #say(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}

/** The problem document of an answer that is not ok; its status at least. */
export async function problemOf(answer) {
  const problem = await answer.json().catch(() => ({}));
  return { ...problem, status: answer.status };
}
