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

const recording = (id) => `recordings/${encodeURIComponent(id)}`;

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

  async #json(path, method = 'GET', body = undefined) {
    const init = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
    const answer = await this.#ask(`/api/v1/${path}`, init);
    return answer.status === 204 ? null : answer.json();
  }

  /** `wanted`: state, env_id, from, to, cursor, limit; what is empty is left out. */
  list(wanted) {
    const given = Object.entries({ limit: 50, ...wanted }).filter(([, value]) => value);
    return this.#json(`recordings?${new URLSearchParams(given)}`);
  }

  one(id) { return this.#json(recording(id)); }

  explain(id) { return this.#json(`${recording(id)}/explain`); }

  async attempts(id) { return (await this.#json(`${recording(id)}/attempts`)).attempts; }

  status() { return this.#json('status'); }

  evidence() { return this.#json('evidence'); }

  selftest() { return this.#json('selftest', 'POST', {}); }

  environments() { return this.#json('environments'); }

  remove(id) { return this.#json(recording(id), 'DELETE'); }

  hold(id, reason) { return this.#json(`${recording(id)}/hold`, 'PUT', { reason }); }

  lift(id) { return this.#json(`${recording(id)}/hold`, 'DELETE'); }

  retry(id) { return this.#json(`${recording(id)}/retry`, 'POST', {}); }

  push(id) { return this.#json(`${recording(id)}/push`, 'POST', {}); }

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
