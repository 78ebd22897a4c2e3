// Work that may be asked for at any moment and as often as one likes, but runs once at a time with a pause between.

/**
 * `ask()` starts `run` at once, or, while it runs or rests, makes sure that it runs once more afterwards.
 * `after(run, ms)` sets a timer and gives what cancels it.
 */
export function oneAtATime(run, pauseMs, after = timer) {
  let busy = false;
  let again = false;
  let stopped = false;
  let wake = null;

  function ask() {
    if (stopped) return;
    if (busy || wake) again = true;
    else start();
  }

  async function start() {
    busy = true;
    again = false;
    try {
      await run();
    } finally {
      busy = false;
      if (!stopped) wake = after(rested, pauseMs);
    }
  }

  function rested() {
    wake = null;
    if (again) start();
  }

  function stop() {
    stopped = true;
    wake?.();
  }

  return { ask, stop };
}

function timer(run, ms) {
  const id = setTimeout(run, ms);
  return () => clearTimeout(id);
}
