// Where the bytes of a recording wait until the node has acknowledged them, and what a page keeps
// in mind so that a reload can finish a recording.
//
// Up to `memory_bytes_max` stay in memory; acknowledged bytes go first when room is needed, so that
// short recordings can be played back without the node. What is not acknowledged and does not fit
// goes to IndexedDB, up to `disk_bytes_max` or whatever the browser grants. When that is full too
// the store says so (`full`), and the recorder stops: nothing that was recorded is dropped.

export const LIMITS = Object.freeze({
  memory_bytes_max: 64 << 20,
  disk_bytes_max: 4 * 2 ** 30,
  // While the disk refuses: what memory may hold before the recording has to stop.
  refused_bytes_max: 128 << 20,
});

const DATABASE = 'holdfast-recorder';
const TABLE = 'pieces';
const LOCK = 'holdfast-recorder/';

export class ByteStore extends EventTarget {
  #limits;
  #disk;
  #pieces = []; // { offset, length, blob | null, spilling }, in order, without a gap
  #memory = 0;
  #spilled = 0;
  #acked = 0;
  #total = 0;
  #full = false;
  #refused = false;

  constructor({ limits = {}, disk = new Disk() } = {}) {
    super();
    this.#limits = { ...LIMITS, ...limits };
    this.#disk = disk;
  }

  get total() { return this.#total; }
  get onDisk() { return this.#spilled; }
  get inMemory() { return this.#memory; }

  append(blob) {
    const piece = { offset: this.#total, length: blob.size, blob, spilling: false };
    this.#pieces.push(piece);
    this.#total += blob.size;
    this.#memory += blob.size;
    this.#makeRoom();
  }

  /** Bytes before this offset are durable at the node. */
  forget(before) {
    this.#acked = Math.max(this.#acked, before);
    for (const piece of this.#pieces) {
      if (piece.offset + piece.length > this.#acked) break;
      if (!piece.blob) this.#takeOff(piece);
    }
    this.#pieces = this.#pieces.filter((p) => p.blob || p.offset + p.length > this.#acked);
    this.#makeRoom();
  }

  /** @returns {Promise<Uint8Array>} */
  async read(offset, length) {
    const out = new Uint8Array(length);
    let filled = 0;
    for (const piece of [...this.#pieces]) {
      const from = Math.max(offset, piece.offset);
      const to = Math.min(offset + length, piece.offset + piece.length);
      if (from >= to) continue;
      const blob = piece.blob ?? new Blob([await this.#disk.get(piece.offset)]);
      const part = await blob.slice(from - piece.offset, to - piece.offset).arrayBuffer();
      out.set(new Uint8Array(part), from - offset);
      filled += to - from;
    }
    if (filled !== length) throw new Error(`bytes ${offset} to ${offset + length} are not here`);
    return out;
  }

  /** All of the recording, or null where its beginning has been let go of. */
  async blob(type) {
    const pieces = [...this.#pieces];
    let next = 0;
    const parts = [];
    for (const piece of pieces) {
      if (piece.offset !== next) return null;
      parts.push(piece.blob ?? await this.#disk.get(piece.offset));
      next += piece.length;
    }
    return next === this.#total && next > 0 ? new Blob(parts, { type }) : null;
  }

  clear() {
    this.#pieces = [];
    this.#memory = 0;
    this.#spilled = 0;
    this.#disk.clear();
  }

  #makeRoom() {
    const { memory_bytes_max } = this.#limits;
    while (this.#memory > memory_bytes_max) {
      const first = this.#pieces[0];
      if (!first?.blob || first.offset + first.length > this.#acked) break;
      this.#pieces.shift();
      this.#memory -= first.length;
    }
    // The newest goes to disk: the oldest is sent next.
    let staying = this.#memory;
    for (let i = this.#pieces.length - 1; i >= 0 && staying > memory_bytes_max; i -= 1) {
      const piece = this.#pieces[i];
      if (!piece.blob) continue;
      staying -= piece.length;
      if (!piece.spilling) this.#spill(piece);
    }
  }

  async #spill(piece) {
    if (this.#spilled + piece.length > this.#limits.disk_bytes_max) return this.#sayFull();
    piece.spilling = true;
    try {
      await this.#disk.put(piece.offset, await piece.blob.arrayBuffer());
    } catch {
      piece.spilling = false;
      this.#refused = true;
    }
    if (piece.spilling) {
      piece.spilling = false;
      piece.blob = null;
      this.#memory -= piece.length;
      this.#spilled += piece.length;
      if (piece.offset + piece.length <= this.#acked) {
        this.#takeOff(piece);
        this.#pieces = this.#pieces.filter((p) => p !== piece);
      }
    } else if (this.#refused && this.#memory > this.#limits.refused_bytes_max) {
      this.#sayFull();
    }
    return undefined;
  }

  #takeOff(piece) {
    this.#spilled -= piece.length;
    this.#disk.delete(piece.offset);
  }

  #sayFull() {
    if (this.#full) return;
    this.#full = true;
    this.dispatchEvent(new Event('full'));
  }
}

/** Pieces in IndexedDB, under a name that no other page uses. */
export class Disk {
  #name = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  #database = null;
  #release = null;

  async put(offset, buffer) {
    const database = await this.#open();
    return done(database.transaction(TABLE, 'readwrite').objectStore(TABLE).put(buffer, this.#key(offset)));
  }

  async get(offset) {
    const database = await this.#open();
    return done(database.transaction(TABLE).objectStore(TABLE).get(this.#key(offset)));
  }

  delete(offset) {
    this.#quietly((table) => table.delete(this.#key(offset)));
  }

  clear() {
    if (!this.#database) return;
    this.#quietly((table) => table.delete(range(this.#name)));
    this.#release?.();
  }

  #key(offset) {
    return `${this.#name}/${String(offset).padStart(16, '0')}`;
  }

  async #quietly(act) {
    try {
      const database = await this.#open();
      act(database.transaction(TABLE, 'readwrite').objectStore(TABLE));
    } catch {
      // What stays behind is swept up by the next page.
    }
  }

  #open() {
    this.#database ??= (async () => {
      // Held as long as the page lives, so that others can tell whose pieces are abandoned.
      navigator.locks?.request(LOCK + this.#name, () => new Promise((resolve) => {
        this.#release = resolve;
      }));
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
      return done(request);
    })();
    return this.#database;
  }

  /** Deletes what closed pages left behind. */
  static async sweep() {
    if (!globalThis.indexedDB || !navigator.locks) return;
    const known = await indexedDB.databases?.().catch(() => []);
    if (!known?.some(({ name }) => name === DATABASE)) return;
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    const database = await done(request);
    const table = database.transaction(TABLE).objectStore(TABLE);
    const names = new Set((await done(table.getAllKeys())).map((key) => key.split('/')[0]));
    const { held } = await navigator.locks.query();
    const alive = new Set(held.map(({ name }) => name));
    for (const name of names) {
      if (alive.has(LOCK + name)) continue;
      await done(database.transaction(TABLE, 'readwrite').objectStore(TABLE).delete(range(name)));
    }
    database.close();
  }
}

function range(name) {
  return IDBKeyRange.bound(`${name}/`, `${name}0`, false, true); // '0' follows '/'
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The unfinished recording of this tab: which one, and the secret that resumes it. */
export class Unfinished {
  #key;

  constructor(node, envId) {
    this.#key = `holdfast-unfinished:${node}:${envId}`;
  }

  remember(known) {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(known));
    } catch {
      // Storage is switched off: a reload will not be able to finish this recording.
    }
  }

  recall() {
    try {
      const known = JSON.parse(sessionStorage.getItem(this.#key));
      return known?.recording_id && known?.token ? known : null;
    } catch {
      return null;
    }
  }

  forget() {
    try {
      sessionStorage.removeItem(this.#key);
    } catch {
      // Nothing was kept.
    }
  }
}
