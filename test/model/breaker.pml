/* The breaker of a resource: three jobs of two qworks meet it open, and somebody may close it, or closed, and one that
 * fails opens it; the clock runs; crashes anywhere.
 *
 * Promises: one probe at most runs, and no second one is let through before the time is over that the
 * first wrote; nothing else starts while the breaker is open; once a probe has succeeded, the others are let in
 * gradually, also if it opened again; what somebody closes is not opened by a probe.
 *
 * Rules: NO_PROBE_LOCK NO_PROBE_WRITTEN NO_READ_AGAIN NO_WINDOW_FIRST NO_OPEN_FIRST NO_STATE_LOCK */
#ifndef CRASHES
#define CRASHES 1
#endif
#define LAST 3 /* the clock stops there */
#define WAIT 1 /* how long the breaker stays open after a probe */

#define PROBE 1 /* inode of slot/probe */
#define STATE 2
#define INODES 3
#define NAMES 1
byte running; /* handlers; they die with their qwork */
byte probing;
bool is_running[9], is_probing[9];
#define AT_DEATH d_step {                                                            \
	running = running - is_running[_pid];                                        \
	probing = probing - is_probing[_pid];                                        \
	is_running[_pid] = false;                                                    \
	is_probing[_pid] = false;                                                    \
}
#include "spool.pml"

byte now;
bool open = true; /* .resource/R/open, and the time in it */
byte until = 1;
byte window; /* .resource/R/window, 0: is not there, so that any number may run */
byte next_probe; /* no probe may be let through before */
byte widened = 1; /* what window ought to be */
#define ANY 9
byte failures; /* attempts that may still fail while it is closed; each opens it */

proctype clock()
{
end:
	do
	:: now < LAST -> now++
	od
}

inline start(probe)
{
	d_step {
		running++;
		is_running[_pid] = true;
		if
		:: probe ->
			assert(probing == 0);
			probing++;
			is_probing[_pid] = true
		:: else
			assert(!open && running <= widened)
		fi
	}
}

inline end_run()
{
	AT_DEATH
}

/* The end of an attempt is settled under the lock of `state`. */
inline lock_state()
{
#ifndef NO_STATE_LOCK
	atomic { lock[STATE] == 0 -> lock[STATE] = _pid }
#else
	skip
#endif
}

inline open_it()
{
	atomic {
		MAY_DIE;
		d_step {
			if
			:: !open ->
				open = true;
				until = now + WAIT;
				next_probe = until;
				failures--
			:: else
			fi
		}
	}
}

/* Closes it by hand, maybe. */
proctype person()
{
	if
	:: atomic { open && lock[STATE] == 0 -> window = 1; widened = 1; open = false }
	:: true
	fi
}

/* A job: it is tried, and waits if it is refused. */
proctype job(bool mortal)
{
	bool probe, is_open, ok;
	byte read_until;

end:
	do
	:: !open || now >= until ->
		atomic { probe = false; ok = true; is_open = open; read_until = until };
		if
		:: is_open && now < read_until -> ok = false
		:: is_open && now >= read_until ->
#ifndef NO_PROBE_LOCK
			atomic {
				MAY_DIE;
				d_step {
					ok = (lock[PROBE] == 0);
					if
					:: ok -> lock[PROBE] = _pid
					:: else
					fi
				}
			};
#endif
			lock_state();
#ifndef NO_READ_AGAIN
			atomic { ok = ok && open && now >= until };
#endif
			if
			:: ok ->
				probe = true;
				atomic {
					MAY_DIE;
					read_until = now + WAIT;
					assert(now >= next_probe);
					next_probe = read_until;
#ifndef NO_PROBE_WRITTEN
					assert(open);
					until = read_until;
#endif
					unlock(STATE)
				}
			:: else -> unlock(STATE)
			fi
		:: else
		fi;
		if
		:: ok ->
			atomic {
				if
				:: !probe && (open || (window > 0 && running >= window)) -> ok = false
				:: else -> start(probe)
				fi
			}
		:: else
		fi;
		if
		:: ok && probe -> /* it fails: T20 */
#ifdef NO_PROBE_WRITTEN
			atomic { MAY_DIE; until = read_until };
#endif
			atomic { MAY_DIE; end_run() }
		:: ok && probe -> /* it succeeds */
			lock_state();
#ifndef NO_WINDOW_FIRST
			atomic { MAY_DIE; window = 1; widened = 1 };
			atomic { MAY_DIE; open = false };
#else
			atomic { MAY_DIE; open = false };
			atomic { MAY_DIE; window = 1; widened = 1 };
#endif
			end_run()
		:: ok && !probe -> /* each success widens it by one */
			atomic {
				lock[STATE] == 0;
				MAY_DIE;
				if
				:: !open -> widened++; window = (window > 0 -> window + 1 : 0)
				:: else
				fi;
				end_run()
			};
			goto over
		:: ok && !probe && failures > 0 && !open -> /* it fails, and opens it */
			lock_state();
#ifndef NO_OPEN_FIRST
			open_it();
			atomic { MAY_DIE; window = 0 };
#else
			atomic { MAY_DIE; window = 0 };
			open_it();
#endif
			atomic { MAY_DIE; end_run() }
		:: else
		fi;
died:
		atomic { unlock(PROBE); unlock(STATE); probe = false; ok = false; is_open = false; read_until = 0 }
	od;
over:
	skip
}

init
{
	atomic {
		if
		:: run person()
		:: open = false; widened = ANY; failures = 1
		fi;
		run job(true);
		run job(false);
		run job(false);
		run clock()
	}
}
