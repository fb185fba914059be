// The node's API as this page uses it: a bearer key on every call, problem documents as errors.

const KEY = 'holdfast-key';

/** The key of this tab: from `#key=…`, which is then taken out of the address, or kept from before. */
export function keyOfThisTab() {
  const given = new URLSearchParams(location.hash.slice(1)).get('key');
  if (given) {
    history.replaceState(null, '', location.pathname + location.search);
    keepKey(given);
    return given;
  }
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function keepKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is switched off: the key lives as long as the page.
  }
}

/** What the node answered when it was not `ok`; `status` 0 where it did not answer. */
export class Problem extends Error {
  constructor(status, document = {}) {
    super(document.detail || document.title || `The node answered ${status}.`);
    this.status = status;
    this.document = document;
  }
}

export class Api {
  #key;

  constructor(key) {
    this.#key = key;
  }

  async #ask(path, init = {}) {
    let answer;
    try {
      answer = await fetch(path, { cache: 'no-store', ...init, headers: { Authorization: `Bearer ${this.#key}`, ...init.headers } });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Problem(0, { detail: 'The node cannot be reached. This page asks again by itself.' });
    }
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
    return answer;
  }

  async list({ state, cursor, limit = 50 } = {}) {
    const query = new URLSearchParams({ limit });
    if (state) query.set('state', state);
    if (cursor) query.set('cursor', cursor);
    return (await this.#ask(`/api/v1/recordings?${query}`)).json();
  }

  async one(id) {
    return (await this.#ask(`/api/v1/recordings/${encodeURIComponent(id)}`)).json();
  }

  async status() {
    return (await this.#ask('/api/v1/status')).json();
  }

  async remove(id) {
    return (await this.#ask(`/api/v1/recordings/${encodeURIComponent(id)}`, { method: 'DELETE' })).json();
  }

  /** A small file, whole. */
  async picture(url) {
    return (await this.#ask(url, { cache: 'default' })).blob();
  }

  /** A file as it comes: `onProgress(bytes)` along the way. */
  async file(url, { signal, onProgress } = {}) {
    const answer = await this.#ask(url, { signal });
    const parts = [];
    let got = 0;
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      got += value.byteLength;
      onProgress?.(got);
    }
    return new Blob(parts, { type: answer.headers.get('content-type') ?? '' });
  }

  /** A file straight into another stream, however large it is. */
  async pipe(url, sink, { signal } = {}) {
    const answer = await this.#ask(url, { signal });
    await answer.body.pipeTo(sink, { signal });
  }
}
