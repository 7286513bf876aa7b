/* Slots: two resources with one slot each. A job of one qwork needs both, one of another needs the first;
 * something else has the second, maybe for ever; somebody looks at the first; a crash anywhere.
 *
 * Promises: no more handlers run than there are slots; no job waits for a slot that no handler has,
 * without a crash at once, after a crash from the next scan on; nobody is woken
 * again and again while a slot stays taken.
 *
 * Rules: NO_SLOT_INHERITED NO_PROBE_READ_ONLY NO_HINT NO_LOOK_AGAIN NO_PROBE NO_GIVE_BACK NO_GIVE_BACK_EVENT */
#ifndef CRASHES
#define CRASHES 1
#endif

#define S1 1 /* inodes of the slots */
#define S2 2
#define INODES 3
#define NAMES 1
#define HANDLER(q) (3 + (q)) /* pids, see init */
#define OTHER 9
/* The kernel closes what was open for writing: an event. */
#define AT_DEATH d_step {                                                            \
	if                                                                           \
	:: lock[S1] == _pid -> event_all(S1)                                         \
	:: else                                                                      \
	fi;                                                                          \
	if                                                                           \
	:: lock[S2] == _pid -> event_all(S2)                                         \
	:: else                                                                      \
	fi                                                                           \
}
#include "spool.pml"

mtype = { NEW, WAITING, RUNNING, OVER };
mtype state[2] = NEW;
byte where[2]; /* .wait/@R/, in which the job waits */
bool go[2];
byte used[INODES];     /* handlers that run with that slot */
byte settling[INODES]; /* who has its lock for a moment: who probes, and who is ending */
byte idle; /* events that say nothing, since the last handler was started */
bool scan[2];

#define AT(q, s) (3 * (q) + (s))
bool watched[6], event[6];

inline event_all(s)
{
	event[AT(0, s)] = event[AT(0, s)] || watched[AT(0, s)];
	event[AT(1, s)] = event[AT(1, s)] || watched[AT(1, s)]
}

/* The last close of a slot that was open for writing: the event, and then the lock falls. */
inline close_slot(s)
{
	d_step {
		event_all(s);
		settling[s]++
	};
	d_step {
		lock[s] = 0;
		settling[s]--
	}
}

/* SLOT: probed by a read-only descriptor, whose close is no event, and taken by a writable one. */
inline take_slot(s, got)
{
#ifndef NO_PROBE_READ_ONLY
	atomic {
		MAY_DIE;
		d_step {
			got = (lock[s] == 0);
			if
			:: got -> lock[s] = _pid; settling[s]++
			:: else
			fi
		}
	};
	if
	:: got -> d_step { lock[s] = 0; settling[s]-- }
	:: else
	fi;
#else
	got = true;
#endif
	if
	:: got ->
		atomic {
			MAY_DIE;
			d_step {
				got = (lock[s] == 0);
				if
				:: got -> lock[s] = _pid
				:: else ->
					event_all(s);
					idle = (lock[s] >= HANDLER(0) -> idle + 1 : idle)
				fi
			};
			assert(idle <= 4)
		}
	:: else
	fi
}

/* NO-HOLD-AND-WAIT: all that the job of q needs, or nothing and what was missing. */
inline take_all(q, missing, got)
{
	missing = 0;
	if
#ifdef NO_GIVE_BACK
	:: lock[S1] == _pid -> got = true
#endif
	:: lock[S1] != _pid -> take_slot(S1, got)
	fi;
	if
	:: !got -> missing = S1
	:: got && q == 0 ->
		take_slot(S2, got);
		if
		:: !got ->
			missing = S2;
#ifdef NO_GIVE_BACK_EVENT
			lock[S1] = 0
#else
#ifndef NO_GIVE_BACK
			close_slot(S1)
#endif
#endif
		:: else
		fi
	:: got && q == 1
	fi
}

/* T3, T19: the handler inherits the slots, and qwork closes its own descriptors at once. */
inline start(q)
{
	atomic {
		MAY_DIE;
		d_step {
			assert(used[S1] == 0 && (q == 1 || used[S2] == 0));
			used[S1]++;
			idle = 0;
			state[q] = RUNNING;
			go[q] = true;
#ifndef NO_SLOT_INHERITED
			lock[S1] = HANDLER(q);
			if
			:: q == 0 -> used[S2]++; lock[S2] = HANDLER(q)
			:: else -> skip
			fi
#endif
		}
	}
}

proctype qwork(byte q; bool mortal)
{
	byte missing, tries, later;
	bool got;

died:
	skip;
	d_step { /* It watches, and then it looks at what waits. */
		missing = 0;
		got = false;
		later = 0;
		tries = (state[q] == WAITING);
		event[AT(q, S1)] = false;
		event[AT(q, S2)] = false;
		watched[AT(q, S1)] = (where[q] == S1);
		watched[AT(q, S2)] = (where[q] == S2)
	};
end:
	do
	:: atomic {
		state[q] == NEW ||
		    (state[q] == WAITING &&
			(tries > 0 || scan[q] || event[AT(q, where[q])] ||
			    (later > 0 && settling[where[q]] == 0))) ->
		if
		:: state[q] == WAITING && tries > 0 -> tries--
		:: state[q] == WAITING && tries == 0 && event[AT(q, where[q])] ->
			event[AT(q, where[q])] = false;
#ifndef NO_PROBE
			later = 2
#endif
		:: else -> later = (later > 0 -> later - 1 : 0)
		fi;
		scan[q] = false
	   };
		take_all(q, missing, got);
		if
		:: got ->
			start(q);
			later = 0
		:: !got && where[q] != missing ->
			atomic { /* T18 */
				MAY_DIE;
				state[q] = WAITING;
				where[q] = missing
			};
			d_step {
#ifndef NO_HINT
				watched[AT(q, missing)] = true;
#endif
#ifndef NO_LOOK_AGAIN
				tries = 1;
#ifndef NO_PROBE
				later = 2;
#endif
#endif
				skip
			}
		:: else
		fi;
		atomic { missing = 0; got = false }
	:: atomic { state[q] == RUNNING && mortal && crashes < CRASHES -> DIE }
	od
}

proctype handler(byte q)
{
end:
	do
	:: go[q] ->
		d_step {
			used[S1]--;
			used[S2] = (q == 0 && used[S2] > 0 -> used[S2] - 1 : used[S2]);
			go[q] = false;
			state[q] = OVER
		};
		close_slot(S1);
		if
		:: q == 0 -> close_slot(S2)
		:: else
		fi
	od
}

/* Has the second slot, and maybe gives it back. */
proctype other()
{
	if
	:: close_slot(S2)
	:: true
	fi
}

/* qlimit, say: it looks whether the slot is free, and does not take it. */
proctype looker()
{
	if
	:: lock[S1] == 0 ->
		d_step {
			if
			:: lock[S1] == 0 -> lock[S1] = _pid; settling[S1]++
			:: else
			fi
		};
		d_step {
			if
			:: lock[S1] == _pid -> lock[S1] = 0; settling[S1]--
			:: else
			fi
		}
	:: true
	fi
}

#define served(q) (state[q] == OVER || (state[q] == WAITING && lock[where[q]] == OTHER))

proctype judge()
{
	timeout;
	assert(crashes > 0 || (served(0) && served(1)));
	atomic {
		crashes = CRASHES;
		scan[0] = true;
		scan[1] = true
	};
	timeout;
	assert(served(0) && served(1))
}

init
{
	atomic {
		lock[S2] = OTHER;
		run qwork(0, true);
		run qwork(1, true);
		run handler(0);
		run handler(1);
		run other();
		run looker();
		run judge()
	}
}
