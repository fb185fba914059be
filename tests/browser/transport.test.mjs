// The protocol's client against a node made of a few lines, on a line that loses, repeats and
// reorders. No sockets, no clock: time is a number.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Transport } from '../../node/service/src/web/assets/recorder/transport.js';

const START = { env_id: 'demo', env_hash: 'demo', mime: 'video/webm', metadata: {} };
const TERMS = { chunk_bytes_max: 100, window_bytes_max: 300, reconnect_ms: 300_000, playback_url: '/p' };

/** A transport with everything it asked for, sorted. */
class Bench {
  now = 0;
  link = 0;
  sent = []; // texts and chunks of the present link
  told = [];
  forgotten = 0;
  dropped = 0;

  constructor(limits = {}) {
    this.transport = new Transport({ limits, random: () => 1 });
  }

  do(act) {
    act(this.transport);
    for (const effect of this.transport.effects()) {
      if (effect.do === 'connect') [this.link, this.sent] = [effect.link, []];
      else if (effect.do === 'disconnect') this.dropped += 1;
      else if (effect.do === 'text') this.sent.push(JSON.parse(effect.text));
      else if (effect.do === 'chunk') this.sent.push(effect);
      else if (effect.do === 'forget') this.forgotten = effect.before;
      else this.told.push([effect.what, effect.detail]);
    }
    return this;
  }

  begin() { return this.do((t) => t.begin(START, this.now)); }
  opened() { return this.do((t) => t.opened(this.link, this.now)); }
  hear(message, link = this.link) { return this.do((t) => t.received(link, JSON.stringify(message), this.now)); }
  closed(code = 1006, link = this.link) { return this.do((t) => t.closed(link, code, this.now)); }
  append(length) { return this.do((t) => t.append(length, this.now)); }
  wait(ms) {
    this.now += ms;
    return this.do((t) => t.timer(this.now));
  }
  started(offset = 0) { return this.hear({ type: 'started', recording_id: 'r', token: 'secret', offset, ...TERMS }); }
  resumed(offset, more = {}) { return this.hear({ type: 'resumed', recording_id: 'r', offset, state: 'receiving', ...TERMS, ...more }); }
  ready() { return this.begin().opened().started(); }
  back(offset, more) { return this.wait(60_000).opened().resumed(offset, more); }
  get chunks() { return this.sent.filter((s) => s.do === 'chunk').map((s) => [s.offset, s.length]); }
  get words() { return this.sent.filter((s) => s.type).map((s) => s.type); }
  heard(what) { return this.told.filter(([name]) => name === what).map(([, detail]) => detail); }
}

describe('a recording on a good line', () => {
  test('greets, sends in order, keeps within the window, forgets what is acknowledged', () => {
    const b = new Bench().begin().append(1000).opened();
    assert.deepEqual(b.words, ['start']);
    assert.deepEqual(b.chunks, [], 'nothing before the node has agreed');
    b.started();
    assert.deepEqual(b.chunks, [[0, 100], [100, 100], [200, 100]]);
    assert.equal(b.forgotten, 0);
    b.hear({ type: 'ack', offset: 150 });
    assert.equal(b.forgotten, 150);
    assert.deepEqual(b.chunks.slice(3), [[300, 100], [400, 50]], 'the window moves by what was acknowledged');
  });

  test('stops and saves once everything was sent, and is over when it is saved', () => {
    const b = new Bench().ready().append(500);
    b.do((t) => t.stop(1234, 0)).do((t) => t.save(0));
    assert.deepEqual(b.words, ['start'], 'the last bytes are still to go');
    b.hear({ type: 'ack', offset: 300 });
    assert.deepEqual(b.words, ['start', 'stop', 'save']);
    assert.deepEqual(b.sent.find((s) => s.type === 'stop'), { type: 'stop', size: 500, length_ms: 1234 });
    b.hear({ type: 'stopped', size: 500, sha256: 'abc' });
    assert.deepEqual(b.heard('stopped'), [{ size: 500, sha256: 'abc' }]);
    assert.equal(b.forgotten, 500);
    b.hear({ type: 'saved', recording_id: 'r' });
    assert.equal(b.heard('saved').length, 1);
    assert.ok(b.transport.over);
    assert.equal(b.transport.deadline, null);
  });

  test('bytes after the stop are not part of it', () => {
    const b = new Bench().ready().append(50).do((t) => t.stop(1, 0)).append(50);
    assert.equal(b.transport.total, 50);
  });

  test('old, repeated, foolish and unknown messages change nothing', () => {
    const b = new Bench().ready().append(200).hear({ type: 'ack', offset: 150 }).hear({ type: 'ack', offset: 100 });
    assert.equal(b.transport.acked, 150);
    b.hear({ type: 'ack', offset: 10_000 }).hear({ type: 'ack' }).hear({ type: 'weather' }).hear(null);
    b.do((t) => t.received(b.link, 'no json', 0)).hear({ type: 'stopped', size: 200, sha256: 'x' });
    assert.equal(b.transport.acked, 150);
    assert.deepEqual(b.heard('stopped'), [], 'nobody has stopped');
    b.hear({ type: 'ack', offset: 200 }, b.link - 1);
    assert.equal(b.transport.acked, 150, 'an older connection has no say');
    b.hear({ type: 'started', recording_id: 'other', token: 'x', offset: 0 });
    assert.equal(b.transport.recordingId, 'r');
  });
});

describe('a lost line', () => {
  test('resumes with its token and resends from the offset the node names', () => {
    const b = new Bench().ready().append(250).hear({ type: 'ack', offset: 100 }).closed();
    assert.equal(b.heard('link').at(-1).up, false);
    b.append(100).wait(60_000).opened();
    assert.deepEqual(b.sent, [{ type: 'resume', recording_id: 'r', token: 'secret' }]);
    b.resumed(100);
    assert.deepEqual(b.chunks, [[100, 100], [200, 100], [300, 50]]);
  });

  test('goes on where the node is when that is further than what it acknowledged', () => {
    const b = new Bench().ready().append(250).closed().back(220);
    assert.deepEqual(b.chunks, [[220, 30]]);
    assert.equal(b.forgotten, 0, 'received is not durable: only an ack lets go of bytes');
    b.append(400);
    assert.deepEqual(b.chunks.slice(1), [[250, 100], [350, 100], [450, 70]], 'the window counts from there');
    b.hear({ type: 'ack', offset: 230 });
    assert.equal(b.forgotten, 230);
  });

  test('a node that lost acknowledged bytes is not papered over', () => {
    const b = new Bench().ready().append(250).hear({ type: 'ack', offset: 200 }).closed().back(150);
    assert.equal(b.heard('failed')[0].kind, 'bytes-lost');
    assert.ok(b.transport.over);
  });

  test('nor one that has more than was recorded', () => {
    const b = new Bench().ready().append(250).closed().back(251);
    assert.equal(b.heard('failed')[0].kind, 'bytes-unknown');
  });

  test('a recording that the node closed early is said to be so', () => {
    const b = new Bench().ready().append(250).hear({ type: 'ack', offset: 200 }).closed().back(200, { state: 'saved' });
    assert.deepEqual(b.heard('failed'), [{ kind: 'closed-early', state: 'saved', offset: 200, total: 250 }]);
  });

  test('pauses grow, with jitter, up to a limit, and shrink again once the node acknowledges', () => {
    const b = new Bench({ retry_ms_min: 100, retry_ms_max: 1_000 }).ready().append(10);
    const pauses = [];
    for (let i = 0; i < 7; i += 1) {
      b.closed();
      pauses.push(b.transport.deadline - b.now);
      b.wait(b.transport.deadline - b.now);
    }
    assert.deepEqual(pauses, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
    b.opened().resumed(0).hear({ type: 'ack', offset: 10 }).closed();
    assert.equal(b.transport.deadline - b.now, 100);
    const low = new Transport({ random: () => 0, limits: { retry_ms_min: 100 } });
    low.begin(START, 0);
    low.closed(1, 1006, 0);
    assert.equal(low.deadline, 50, 'half of it at least');
  });

  test('a network that is back ends the wait at once', () => {
    const b = new Bench().ready().append(10).closed();
    const before = b.link;
    b.do((t) => t.online(b.now));
    assert.ok(b.link > before);
    assert.equal(b.transport.phase, 'connecting');
  });

  test('a line that takes bytes and never answers is given up', () => {
    const b = new Bench({ silence_ms_max: 5_000 }).ready();
    assert.equal(b.transport.deadline, null, 'nothing is owed while nothing is under way');
    b.wait(100_000).append(10);
    assert.equal(b.transport.deadline, b.now + 5_000);
    b.wait(5_000);
    assert.equal(b.dropped, 1);
    assert.equal(b.transport.phase, 'waiting');
  });

  test('a connection that never opens is given up', () => {
    const b = new Bench({ connect_ms_max: 3_000 }).begin().wait(3_000);
    assert.equal(b.transport.phase, 'waiting');
    b.wait(60_000).opened().wait(3_000);
    assert.equal(b.transport.phase, 'waiting', 'nor one that opens and is never greeted');
  });

  test('before the node knows the recording, it is begun anew', () => {
    const b = new Bench().begin().append(100).opened().closed().wait(60_000).opened();
    assert.deepEqual(b.words, ['start']);
    assert.deepEqual(b.started().chunks, [[0, 100]]);
  });

  test('lost between stop and its answer: stop is said again, then save', () => {
    const b = new Bench().ready().append(50).do((t) => t.stop(9, 0)).do((t) => t.save(0)).closed();
    b.back(50, { state: 'stopped' });
    assert.deepEqual(b.words, ['resume', 'stop', 'save']);
    b.hear({ type: 'stopped', size: 50, sha256: 'abc' }).hear({ type: 'saved' });
    assert.deepEqual(b.heard('stopped'), [{ size: 50, sha256: 'abc' }]);
    assert.deepEqual(b.heard('saved'), [{ recording_id: 'r', recovered: false }]);
  });

  test('lost between save and its answer: the node says that it is saved', () => {
    const b = new Bench().ready().append(50).do((t) => t.stop(9, 0)).hear({ type: 'stopped', size: 50, sha256: 'abc' });
    b.do((t) => t.save(0)).closed().back(50, { state: 'saved' });
    assert.deepEqual(b.heard('saved'), [{ recording_id: 'r', recovered: false }]);
    assert.ok(b.transport.over);
  });
});

describe('what the node refuses', () => {
  const error = (status, more = {}) => ({ type: 'error', problem: { status, title: 'x', ...more } });

  test('4409 with an expected offset resumes from there', () => {
    const b = new Bench().ready().append(300).hear({ type: 'ack', offset: 100 });
    b.hear(error(409, { expected: 200 })).closed(4409);
    assert.equal(b.transport.phase, 'waiting');
    b.back(200);
    assert.deepEqual(b.chunks, [[200, 100]]);
  });

  test('4409 without one means that another connection took over', () => {
    const b = new Bench().ready().append(10).hear(error(409)).closed(4409);
    assert.equal(b.heard('failed')[0].problem.status, 409);
    assert.ok(b.transport.over);
  });

  for (const status of [400, 401, 404, 413, 415]) {
    test(`${status} is final, by message or by close code`, () => {
      assert.equal(new Bench().ready().hear(error(status)).heard('failed')[0].problem.status, status);
      assert.equal(new Bench().ready().closed(4000 + status).heard('failed')[0].problem.status, status);
    });
  }

  for (const status of [408, 429, 503, 507]) {
    test(`${status} is tried again`, () => {
      const b = new Bench().ready().append(10).hear(error(status, { retry_after_s: 30 })).closed(4000 + status);
      assert.deepEqual(b.heard('failed'), []);
      assert.equal(b.heard('link').at(-1).problem.status, status);
      assert.equal(b.transport.deadline, 30_000, 'not sooner than the node asks');
    });
  }
});

describe('throwing away', () => {
  test('on a good line', () => {
    const b = new Bench().ready().append(1000).do((t) => t.discard(0));
    assert.equal(b.words.at(-1), 'discard');
    b.hear({ type: 'discarded', recording_id: 'r' });
    assert.equal(b.heard('discarded').length, 1);
  });

  test('before the node ever heard of it', () => {
    const b = new Bench().begin().do((t) => t.discard(0));
    assert.equal(b.heard('discarded').length, 1);
  });

  test('while the line is gone: at once when it is back, and gone already is as good', () => {
    const b = new Bench().ready().append(1000).closed().do((t) => t.discard(0)).opened().resumed(300);
    assert.deepEqual(b.sent.map((s) => s.type ?? s.do), ['resume', 'discard'], 'and no more chunks');
    const c = new Bench().ready().append(1000).do((t) => t.discard(0)).closed().wait(60_000).opened();
    c.hear({ type: 'error', problem: { status: 404 } });
    assert.equal(c.heard('discarded').length, 1);
    assert.deepEqual(c.heard('failed'), []);
  });

  test('what is thrown away cannot be saved any more', () => {
    const b = new Bench().ready().append(10).do((t) => t.discard(0)).do((t) => t.save(0));
    assert.ok(!b.words.includes('save'));
  });
});

describe('after a reload', () => {
  const adopted = (offset, state) => {
    const b = new Bench().do((t) => t.adopt({ recording_id: 'r', token: 'secret' }, 0)).opened();
    assert.deepEqual(b.words, ['resume']);
    return b.resumed(offset, { state });
  };

  test('what arrived can be saved', () => {
    const b = adopted(777, 'receiving');
    assert.equal(b.heard('resumed')[0].offset, 777);
    b.do((t) => t.stop(null, 0)).do((t) => t.save(0));
    assert.deepEqual(b.sent.slice(1), [{ type: 'stop', size: 777, length_ms: null }, { type: 'save' }]);
    b.hear({ type: 'stopped', size: 777, sha256: 'abc' }).hear({ type: 'saved' });
    assert.equal(b.heard('saved').length, 1);
  });

  test('or thrown away', () => {
    assert.equal(adopted(777, 'receiving').do((t) => t.discard(0)).words.at(-1), 'discard');
  });

  test('what the node saved by itself is said to be saved', () => {
    const b = adopted(777, 'saved').hear({ type: 'stopped', size: 777, sha256: 'abc' });
    assert.deepEqual(b.heard('saved'), [{ recording_id: 'r', recovered: true }]);
  });

  test('nothing is ever sent from an offset that this page does not have', () => {
    const b = adopted(777, 'receiving').closed().back(777);
    assert.deepEqual(b.chunks, []);
  });
});

/** A small generator of numbers that a seed repeats exactly. */
function numbers(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('on 300 bad lines, what the node ends up with is what was recorded', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = numbers(seed);
    const b = new Bench();
    let [kept, durable, stopped, over] = [0, 0, false, false];
    b.begin();
    let seen = 0;
    let link = b.link;
    for (let step = 0; step < 4_000 && !over; step += 1) {
      if (link !== b.link) [link, seen] = [b.link, 0];
      const dice = random();
      if (b.transport.phase === 'connecting') {
        if (dice < 0.8) b.opened();
        else b.closed();
      } else if (b.transport.phase === 'waiting') {
        b.wait(1_000);
      } else if (dice < 0.06) {
        kept = Math.max(durable, Math.round(durable + (kept - durable) * random())); // a power cut
        b.closed();
      } else if (dice < 0.3 && seen < b.sent.length) {
        const item = b.sent[seen];
        seen += 1;
        if (item.type === 'start') b.started(kept);
        else if (item.type === 'resume') b.resumed(kept, { state: stopped ? 'stopped' : 'receiving' });
        else if (item.do === 'chunk') {
          assert.ok(item.offset <= kept, `seed ${seed}: a hole at ${kept}, a chunk from ${item.offset}`);
          kept = Math.max(kept, item.offset + item.length);
        } else if (item.type === 'stop') {
          assert.equal(item.size, kept, `seed ${seed}: stopped before all was there`);
          [durable, stopped] = [kept, true];
          b.hear({ type: 'stopped', size: kept, sha256: 'abc' });
        } else if (item.type === 'save') {
          assert.ok(stopped, `seed ${seed}: saved before it was stopped`);
          over = true;
          b.hear({ type: 'saved' });
        }
      } else if (dice < 0.45) {
        durable = kept;
        if (b.transport.phase === 'open') b.hear({ type: 'ack', offset: durable });
      } else if (dice < 0.6 && b.transport.total < 5_000) {
        b.append(1 + Math.floor(random() * 400));
      } else if (b.transport.total >= 5_000) {
        b.do((t) => t.stop(1, b.now)).do((t) => t.save(b.now));
      }
      assert.ok(b.forgotten <= durable, `seed ${seed}: forgot ${b.forgotten}, durable are ${durable}`);
    }
    assert.ok(over, `seed ${seed}: never saved`);
    assert.equal(kept, b.transport.total, `seed ${seed}`);
    assert.equal(b.heard('saved').length, 1);
    assert.deepEqual(b.heard('failed'), []);
  }
});
