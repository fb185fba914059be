// The client's side of `holdfast.ingest.v1`, without a socket, a clock, a timer or the bytes.
//
// It is told what happened (`append`, `opened`, `received`, `closed`, `timer` …) and at what time,
// and answers with effects that a shell carries out (see connection.js). What it holds to:
//
// - chunks leave in the order of their offsets, and never more than `window_bytes_max` beyond what
//   the node has on this connection;
// - a byte may be forgotten only after the node acknowledged it;
// - after a lost line it resumes at the offset the node names, lower or higher than its own;
// - a message of an older connection changes nothing.
//
// Effects, drained with `effects()`:
//   { do: 'connect', link }                  open a connection; its events carry this number
//   { do: 'disconnect', link }               close it, its events are of no interest any more
//   { do: 'text', link, text }               send a text frame
//   { do: 'chunk', link, offset, length }    send these bytes of the recording
//   { do: 'forget', before }                 bytes before this offset are durable at the node
//   { do: 'tell', what, detail }             tell the person's side

export const PROTOCOL = 'holdfast.ingest.v1';

export const DEFAULTS = Object.freeze({
  chunk_bytes_max: 1 << 20,
  window_bytes_max: 8 << 20,
  retry_ms_min: 500,
  retry_ms_max: 15_000,
  busy_retry_ms_min: 2_000,
  connect_ms_max: 10_000,
  silence_ms_max: 20_000,
});

/** After these the node is asked again later; after any other status it makes no sense to. */
const BUSY = new Set([408, 429, 503, 507]);
const FINAL = new Set([400, 401, 403, 404, 409, 413, 415]);

export class Transport {
  #limits;
  #random;
  #queue = [];
  #phase = 'idle'; // idle · connecting · greeting · open · waiting · over
  #link = 0;
  #attempt = 0;
  #deadline = null;
  #heardAt = 0;

  #start = null; // the start message, until the node knows the recording
  #id = null;
  #token = null;
  #adopted = false; // taken over after a reload: only the node knows how long it is

  #total = 0; // bytes recorded so far
  #sent = 0; // bytes handed to this connection
  #floor = 0; // where this connection began, or what was acknowledged since
  #acked = 0; // bytes durable at the node

  #end = null; // { size, length_ms } once the recorder has stopped
  #endSent = false;
  #ended = false; // the node has it all
  #savedAlready = false; // by the node, while this page was away
  #keep = null; // 'save' or 'discard'
  #keepSent = false;
  #problem = null; // of the last error message

  constructor({ limits = {}, random = Math.random } = {}) {
    this.#limits = { ...DEFAULTS, ...limits };
    this.#random = random;
  }

  // ── what can be asked ────────────────────────────────────────────────────────────────────────

  get phase() { return this.#phase; }
  get recordingId() { return this.#id; }
  get token() { return this.#token; }
  get total() { return this.#total; }
  get acked() { return this.#acked; }
  get unacknowledged() { return this.#total - this.#acked; }
  get ended() { return this.#ended; }
  get over() { return this.#phase === 'over'; }
  get limits() { return this.#limits; }

  /** When `timer` wants to be called, in the same clock as every `now`; null for never. */
  get deadline() {
    if (this.#phase === 'open') {
      return this.#expectsAnswer() ? this.#heardAt + this.#limits.silence_ms_max : null;
    }
    return this.#deadline;
  }

  effects() {
    const queue = this.#queue;
    this.#queue = [];
    return queue;
  }

  // ── what the person and the recorder do ──────────────────────────────────────────────────────

  /** A new recording. `start` holds env_id, env_hash, mime, metadata. */
  begin(start, now) {
    this.#start = { type: 'start', ...start };
    this.#connect(now);
  }

  /** A recording that an earlier page began. */
  adopt({ recording_id, token }, now) {
    this.#id = recording_id;
    this.#token = token;
    this.#adopted = true;
    this.#connect(now);
  }

  /** The recorder produced `length` more bytes. */
  append(length, now) {
    if (this.over || this.#end) return;
    this.#total += length;
    this.#send(now);
  }

  /** The recorder has stopped; nothing is appended after this. */
  stop(length_ms, now) {
    if (this.over || this.#end) return;
    this.#end = { length_ms: length_ms ?? null };
    this.#send(now);
  }

  save(now) {
    if (this.over || this.#keep === 'discard') return;
    this.#keep = 'save';
    this.#keepSent = false;
    this.#send(now);
  }

  discard(now) {
    if (this.over) return;
    this.#keep = 'discard';
    this.#keepSent = false;
    if (!this.#id && this.#phase !== 'greeting') {
      this.#finish('discarded', {}); // the node has never heard of it
      return;
    }
    if (this.#phase === 'waiting') this.#connect(now);
    this.#send(now);
  }

  // ── what happens on the line ─────────────────────────────────────────────────────────────────

  opened(link, now) {
    if (link !== this.#link || this.#phase !== 'connecting') return;
    this.#phase = 'greeting';
    this.#deadline = now + this.#limits.connect_ms_max;
    const greeting = this.#id
      ? { type: 'resume', recording_id: this.#id, token: this.#token }
      : this.#start;
    this.#emit({ do: 'text', link, text: JSON.stringify(greeting) });
  }

  received(link, text, now) {
    if (link !== this.#link || this.over) return;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not for us: a later version may add frames
    }
    this.#heardAt = now;
    switch (message?.type) {
      case 'started': return this.#started(message, now);
      case 'resumed': return this.#resumed(message, now);
      case 'ack': return this.#acknowledged(message.offset, now);
      case 'stopped': return this.#stopped(message, now);
      case 'saved': return this.#finish('saved', { recording_id: this.#id, recovered: false });
      case 'discarded': return this.#finish('discarded', {});
      case 'error': return this.#refused(message.problem ?? {}, now);
      default: return undefined;
    }
  }

  closed(link, code, now) {
    if (link !== this.#link || this.over || this.#phase === 'waiting') return;
    const problem = this.#problem
      ?? (code >= 4400 && code < 4600 ? { status: code - 4000 } : null);
    this.#lost(problem, now);
  }

  /** The browser says that there is a network again: no reason to wait. */
  online(now) {
    if (this.#phase === 'waiting') this.#connect(now);
  }

  timer(now) {
    if (this.deadline === null || now < this.deadline) return;
    if (this.#phase === 'waiting') {
      this.#connect(now);
    } else if (!this.over) {
      this.#emit({ do: 'disconnect', link: this.#link });
      this.#lost(null, now);
    }
  }

  // ── within ───────────────────────────────────────────────────────────────────────────────────

  #emit(effect) { this.#queue.push(effect); }
  #tell(what, detail = {}) { this.#emit({ do: 'tell', what, detail }); }

  #connect(now) {
    this.#link += 1;
    this.#phase = 'connecting';
    this.#deadline = now + this.#limits.connect_ms_max;
    this.#problem = null;
    this.#emit({ do: 'connect', link: this.#link });
  }

  #started(message, now) {
    if (this.#phase !== 'greeting' || this.#id) return;
    this.#id = message.recording_id;
    this.#token = message.token;
    this.#start = null;
    this.#tell('started', {
      recording_id: this.#id, token: this.#token, playback_url: message.playback_url,
    });
    this.#open(message, now);
  }

  #resumed(message, now) {
    if (this.#phase !== 'greeting') return;
    const { offset, state = 'receiving' } = message;
    if (this.#adopted && !this.#end) this.#total = Math.max(this.#total, offset);
    const complete = state !== 'receiving';
    if (this.#keep !== 'discard') {
      if (offset > this.#total || offset < this.#acked) {
        const have = offset < this.#acked ? 'bytes-lost' : 'bytes-unknown';
        return this.#fail({ kind: have, offset, total: this.#total });
      }
      if (complete && offset < this.#total) {
        // It was away for longer than `reconnect_ms`: the node closed the recording without us.
        return this.#fail({ kind: 'closed-early', state, offset, total: this.#total });
      }
    }
    this.#tell('resumed', { offset, state, playback_url: message.playback_url });
    if (complete && this.#keep !== 'discard') {
      // Its answer to `stop` may have been lost, and the digest with it: `stop` is said again.
      this.#end ??= { length_ms: null };
      if (state === 'saved' && this.#ended) {
        return this.#finish('saved', { recording_id: this.#id, recovered: this.#keep === null });
      }
      this.#savedAlready = state === 'saved';
    }
    return this.#open(message, now);
  }

  #open(message, now) {
    for (const name of ['chunk_bytes_max', 'window_bytes_max']) {
      if (message[name] > 0) this.#limits[name] = message[name];
    }
    if (message.reconnect_ms > 0) this.#limits.reconnect_ms = message.reconnect_ms;
    this.#phase = 'open';
    this.#deadline = null;
    this.#heardAt = now;
    this.#sent = message.offset ?? 0;
    this.#floor = this.#sent;
    this.#endSent = false;
    this.#keepSent = false;
    this.#tell('link', { up: true });
    this.#send(now);
  }

  #send(now) {
    if (this.#phase !== 'open') return;
    const quiet = !this.#expectsAnswer();
    if (this.#keep === 'discard') {
      if (!this.#keepSent) {
        this.#keepSent = true;
        this.#emit({ do: 'text', link: this.#link, text: '{"type":"discard"}' });
      }
    } else {
      this.#sendChunks();
      this.#sendEnd();
    }
    if (quiet) this.#heardAt = now; // the silence is counted from the first thing left unanswered
  }

  #sendChunks() {
    const { chunk_bytes_max, window_bytes_max } = this.#limits;
    while (this.#sent < this.#total) {
      const room = window_bytes_max - (this.#sent - this.#floor);
      const length = Math.min(chunk_bytes_max, this.#total - this.#sent, room);
      if (length <= 0) return;
      this.#emit({ do: 'chunk', link: this.#link, offset: this.#sent, length });
      this.#sent += length;
    }
  }

  #sendEnd() {
    if (this.#sent < this.#total) return;
    if (this.#end && !this.#endSent && !this.#ended) {
      this.#endSent = true;
      const text = JSON.stringify({ type: 'stop', size: this.#total, length_ms: this.#end.length_ms });
      this.#emit({ do: 'text', link: this.#link, text });
    }
    if (this.#end && this.#keep === 'save' && !this.#keepSent) {
      this.#keepSent = true;
      this.#emit({ do: 'text', link: this.#link, text: '{"type":"save"}' });
    }
  }

  #expectsAnswer() {
    return this.#sent > this.#floor
      || (this.#endSent && !this.#ended)
      || this.#keepSent;
  }

  #acknowledged(offset, now) {
    if (!Number.isSafeInteger(offset) || offset > this.#total) return;
    this.#attempt = 0;
    this.#floor = Math.max(this.#floor, offset);
    if (offset > this.#acked) {
      this.#acked = offset;
      this.#emit({ do: 'forget', before: offset });
      this.#tell('acked', { offset, total: this.#total });
    }
    this.#send(now);
  }

  #stopped(message, now) {
    if (!this.#end || message.size !== this.#total) return;
    this.#acknowledged(message.size, now);
    if (!this.#ended) {
      this.#ended = true;
      this.#tell('stopped', { size: message.size, sha256: message.sha256 || null });
    }
    if (this.#savedAlready) {
      this.#finish('saved', { recording_id: this.#id, recovered: this.#keep === null });
    }
  }

  /** An error message. The node closes after it, so what it means is acted on in `closed`. */
  #refused(problem, now) {
    this.#problem = problem;
    if (FINAL.has(problem.status)) {
      this.#emit({ do: 'disconnect', link: this.#link });
      this.#lost(problem, now);
    }
  }

  #lost(problem, now) {
    const status = problem?.status;
    const outOfOrder = status === 409 && Number.isSafeInteger(problem.expected);
    if (status === 404 && this.#keep === 'discard') return this.#finish('discarded', {});
    if (FINAL.has(status) && !outOfOrder) return this.#fail({ kind: 'refused', problem });
    if (this.#keep === 'discard' && !this.#id) return this.#finish('discarded', {});
    const { retry_ms_min, retry_ms_max, busy_retry_ms_min } = this.#limits;
    const min = BUSY.has(status) && status !== 408 ? busy_retry_ms_min : retry_ms_min;
    const pause = Math.min(retry_ms_max, min * 2 ** Math.min(this.#attempt, 16));
    const wait = Math.max(pause * (0.5 + this.#random() / 2), (problem?.retry_after_s ?? 0) * 1000);
    this.#attempt += 1;
    this.#phase = 'waiting';
    this.#link += 1; // whatever the old connection still says is of no interest
    this.#deadline = now + wait;
    this.#tell('link', { up: false, problem: problem ?? null, retry_at: this.#deadline, attempt: this.#attempt });
    return undefined;
  }

  #finish(what, detail) {
    if (what === 'saved' && this.#acked < this.#total) {
      this.#acked = this.#total;
      this.#emit({ do: 'forget', before: this.#total });
    }
    this.#close();
    this.#tell(what, detail);
  }

  #fail(detail) {
    this.#close();
    this.#tell('failed', detail);
  }

  #close() {
    if (this.#phase !== 'waiting' && this.#phase !== 'idle') {
      this.#emit({ do: 'disconnect', link: this.#link });
    }
    this.#phase = 'over';
    this.#deadline = null;
  }
}
