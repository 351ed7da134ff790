// The waiting room's script: receives facts, shows them, and reloads when the slot is ready. All words come from the page
// (`#words`); facts are only inserted as text.
(() => {
  'use strict';
  const own = new URL('.', document.currentScript.src).pathname;
  const $ = (id) => document.getElementById(id);
  const room = document.body;
  const pool = $('pool').textContent;
  const words = {};
  for (const word of $('words').content.children) words[word.dataset.word] = word;
  const say = (key, n, part) => {
    const text = words[key].children[part || 0];
    return text ? text.textContent.replace('{n}', n) : '';
  };
  const put = (id, text) => {
    if ($(id).textContent !== text) $(id).textContent = text;
  };
  const memory = (key, value) => {
    key = 'slotkeeper.' + key + '.' + pool;
    try {
      if (value === undefined) return +sessionStorage.getItem(key) || 0;
      sessionStorage.setItem(key, value);
    } catch (e) { /* storage is forbidden: do without */ }
    return value || 0;
  };

  const waiting = (state) => ['arriving', 'starting', 'queued', 'failing'].includes(state);
  let state = room.dataset.state;
  let heard = Date.now();
  let due = room.dataset.estimate === '' ? null : heard + room.dataset.estimate * 1000;
  let since = (state !== 'arriving' && memory('since')) || heard;
  let over = state === 'ended' || state === 'ready';

  // ---- words for facts; page.rs has the same rules for the first view

  const about = (seconds) => {
    if (seconds < 5) return say('moment');
    if (seconds < 55) return say('seconds', seconds < 20 ? Math.round(seconds / 5) * 5 : Math.round(seconds / 10) * 10);
    if (seconds < 90) return say('minute');
    if (seconds < 5400) return say('minutes', Math.round(seconds / 60));
    return say('hours', Math.round(seconds / 3600));
  };
  const named = (facts) => {
    if (facts.state === 'ended') return words['ended.' + facts.reason] ? 'ended.' + facts.reason : 'ended';
    if (facts.state === 'queued' && facts.reason === 'checking') return 'checking';
    if (facts.state !== 'queued' || !facts.position) return facts.state;
    return ['next', 'one_ahead'][facts.position - 1] || 'many_ahead';
  };
  const rise = (facts) => {
    if (facts.state === 'ready') return 4;
    if (facts.state === 'queued') return facts.position === 1 ? 1 : 0;
    if (facts.state !== 'starting') return 0;
    return 1 + Math.floor(2 * facts.steps.filter((s) => s.done).length / (facts.steps.length || 1));
  };

  let shownSteps;
  const showSteps = (steps) => {
    const key = JSON.stringify(steps);
    if (key === shownSteps) return;
    shownSteps = key;
    const now = steps.findIndex((s) => !s.done);
    $('steps').textContent = '';
    steps.forEach((step, i) => {
      const item = document.createElement('li');
      const how = document.createElement('span');
      how.className = 'unseen';
      how.textContent = say(step.done ? 'done' : i === now ? 'now' : 'later') + ' ';
      if (step.done) item.className = 'done';
      if (i === now) item.setAttribute('aria-current', 'step');
      item.append(how, step.text);
      $('steps').append(item);
    });
  };

  // Screen readers announce changes: at most every five seconds while waiting, and never a ticking clock.
  let said = $('headline').textContent, saidAt = 0, saying;
  const announce = () => {
    if (saying && waiting(state)) return;
    clearTimeout(saying);
    saying = setTimeout(() => {
      saying = 0;
      const step = $('steps').querySelector('[aria-current]');
      const text = [$('headline').textContent, waiting(state) && step && step.lastChild.textContent,
        state === 'ended' && $('lead').textContent, !$('trouble').hidden && $('trouble').textContent].filter(Boolean).join(' – ');
      if (text === said) return;
      saidAt = Date.now();
      $('live').textContent = said = text;
    }, waiting(state) ? Math.max(1000, saidAt + 5000 - Date.now()) : 300);
  };
  const trouble = (is) => {
    $('trouble').hidden = !is;
    announce();
  };

  const show = (facts) => {
    if (!words[facts.state]) return;
    state = facts.state;
    const name = named(facts);
    const ahead = facts.position - 1;
    room.dataset.state = state;
    room.dataset.rise = rise(facts);
    put('headline', say(name, ahead));
    put('lead', state === 'ready' && facts.ends_in_seconds != null
      ? say('ending', about(facts.ends_in_seconds)) : say(name, '', 1) || say(state, '', 1));
    document.title = (say(name, facts.position, 2) || say(state, '', 2)) + ' · ' + pool;
    $('note').hidden = !(waiting(state) && facts.reason === 'pod_lost');
    due = facts.estimate_seconds == null ? null : heard + facts.estimate_seconds * 1000;
    showSteps(facts.steps || []);
    put('problem', facts.problem || '');
    const number = $('position'), position = facts.position ? String(facts.position) : '';
    if (number.textContent !== position) {
      number.textContent = position;
      number.className = '';
      void number.offsetWidth; // lets the same animation run again
      number.className = 'new';
    }
    $('number').hidden = !position;
    const focused = document.activeElement;
    for (const part of document.querySelectorAll('[data-for]')) {
      part.hidden = !part.dataset.for.split(' ').includes(state);
      if (part.hidden && part.contains(focused)) $('headline').focus();
    }
    tick();
    announce();
  };

  const tick = () => {
    const now = Date.now();
    put('estimate', due === null ? say('unknown') : about(Math.max(0, (due - now) / 1000)));
    const waited = Math.max(0, Math.floor((now - since) / 1000));
    put('waited', Math.floor(waited / 60) + ':' + String(waited % 60).padStart(2, '0'));
    $('since').hidden = false;
    if (state === 'arriving' && (!navigator.cookieEnabled || now - since > 20000)) put('lead', say('cookies'));
    // No facts for 20 s: nothing has changed, or the laptop slept, or the stream died unnoticed.
    if (source && now - heard > 20000) {
      heard = now;
      if (source.readyState === 1) ask();
      else {
        failures++;
        listen();
      }
    }
  };

  // ---- receiving facts

  let source, timer, failures = 0, asked = 0;
  const later = (what, ms) => {
    clearTimeout(timer);
    timer = setTimeout(what, ms);
  };
  const hangUp = () => {
    if (source) source.close();
    source = null;
    clearTimeout(timer);
  };
  const lost = () => setTimeout(() => {
    if (!over && failures) trouble(true);
  }, failures > 1 ? 0 : 2000);

  const hear = (facts) => {
    if (over) return;
    failures = source ? 0 : failures;
    heard = Date.now();
    trouble(false);
    show(facts);
    if (state === 'ready' || state === 'ended') {
      over = true;
      hangUp();
      memory('since', '');
      if (state === 'ready') go();
    } else if (state === 'full' && source) {
      hangUp();
      later(listen, 15000 + Math.random() * 5000);
    }
  };
  const ask = async () => {
    const stop = window.AbortController && new AbortController();
    const limit = setTimeout(() => stop && stop.abort(), 10000);
    try {
      const answer = await fetch(own + 'status', { cache: 'no-store', headers: { accept: 'application/json' }, signal: stop ? stop.signal : undefined });
      hear(await answer.json());
    } catch (e) {
      if (!over) trouble(true);
    }
    clearTimeout(limit);
  };
  const poll = async () => {
    await ask();
    if (over) return;
    if (++asked % 12 === 0) failures = 0; // once a minute, try the stream again
    later(listen, state === 'full' ? 15000 : 5000);
  };
  const listen = () => {
    hangUp();
    if (over) return;
    if (!window.EventSource || failures >= 3) {
      poll();
      return;
    }
    const mine = source = new EventSource(own + 'events');
    mine.onmessage = (event) => {
      if (mine === source) hear(JSON.parse(event.data));
    };
    mine.addEventListener('again', () => {
      if (mine === source) listen();
    });
    mine.onerror = () => {
      if (mine !== source) return;
      failures++;
      lost();
      if (failures >= 3 || mine.readyState === 2) { // otherwise the browser retries by itself
        hangUp();
        later(listen, failures >= 3 ? 0 : 2000);
      }
    };
  };

  // The slot may be taken when the page reloads: then each further reload waits longer.
  const go = () => {
    const now = Date.now();
    const again = now - memory('went') < 15000 ? Math.min(memory('again') + 1, 5) : 0;
    memory('went', now);
    memory('again', again);
    setTimeout(() => {
      if (location.pathname.startsWith(own)) location.replace($('to').href);
      else if (location.hash) location.reload(); // replacing with the same fragment would only scroll
      else location.replace(location.href);
    }, again * 2000);
  };

  addEventListener('pagehide', hangUp);
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });
  addEventListener('online', () => {
    if (!over) ask();
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !over && Date.now() - heard > 10000) ask();
  });

  if (state === 'ready') go();
  if (over) return;
  memory('since', since);
  setInterval(tick, 1000);
  tick();
  if (state === 'full') later(listen, 15000 + Math.random() * 5000);
  else listen();
})();
