/* What wakes a qwork: two qworks are started; meanwhile a job comes into new/, and in cur/ is a job
 * whose worker is lost and whose handler ends, maybe.
 *
 * Promises: both are taken without waiting for the minute's scan; as long as the handler runs nobody
 * is woken again and again.
 *
 * Rules: NO_HINT NO_PROBE NO_PROBE_SCANNED NO_QUIET */
#define CRASHES 0

#define A 1 /* in cur/ */
#define B 2 /* comes into new/ */
#define INODES 3
#define CUR_A 0
#define NEW_B 1
#define NAMES 2
#define HANDLER 9
#include "spool.pml"

bool watching[2], event_new[2], event_cur[2];
bool settling; /* the lock of A is about to fall */
byte idle;     /* probes of A while its handler runs */
bool taken_a, taken_b;

inline event_in_cur()
{
	event_cur[0] = event_cur[0] || watching[0];
	event_cur[1] = event_cur[1] || watching[1]
}

/* T12, if A's lock is free. QUIET: opened read-only, so that its close is no event. */
inline probe()
{
	atomic {
		if
		:: name[CUR_A] != 0 && lock[A] == 0 -> lock[A] = _pid
		:: else
		fi;
		idle = (lock[A] == HANDLER && !settling -> idle + 1 : idle);
		assert(idle <= 6)
	};
	if
	:: lock[A] == _pid -> d_step { name[CUR_A] = 0; taken_a = true; lock[A] = 0 }
	:: else
	fi;
#ifdef NO_QUIET
	d_step { event_in_cur() }
#endif
}

inline scan()
{
	atomic {
		if
		:: name[NEW_B] != 0 -> name[NEW_B] = 0; taken_b = true /* T3 */
		:: else
		fi
	};
	probe()
}

proctype qwork(byte q)
{
	byte later;

#ifndef NO_HINT
	watching[q] = true; /* HINT: watch, then scan */
	scan();
#else
	scan();
	watching[q] = true;
#endif
#ifndef NO_PROBE_SCANNED
	later = 1; /* the event may have come before it watched */
#endif
end:
	do
	:: atomic {
		event_new[q] ->
		event_new[q] = false;
		if
		:: name[NEW_B] != 0 -> name[NEW_B] = 0; taken_b = true
		:: else
		fi
	   }
	:: event_cur[q] ->
		event_cur[q] = false;
		probe();
#ifndef NO_PROBE
		later = 1
#endif
	:: atomic { later > 0 && !settling -> later-- }; /* PROBE: after 10, 100, 500 ms */
		probe()
	od
}

proctype sender()
{
	d_step {
		name[NEW_B] = B;
		event_new[0] = watching[0];
		event_new[1] = watching[1]
	}
}

/* Its qwork is dead. The event of the last close comes a little before the lock falls. */
proctype handler()
{
	if
	:: d_step { event_in_cur(); settling = true };
		d_step { lock[A] = 0; settling = false }
	:: true
	fi
}

proctype judge()
{
	timeout;
	assert(taken_b);
	assert(taken_a || lock[A] == HANDLER)
}

init
{
	atomic {
		name[CUR_A] = A;
		lock[A] = HANDLER;
		run qwork(0);
		run qwork(1);
		run sender();
		run handler();
		run judge()
	}
}
