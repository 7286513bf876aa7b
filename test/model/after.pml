/* --after a job: X, which is tried again, holds a key until it starts and may be kept; D, which is
 * being sent --after X; a qwork, a sweep, a person with rm, a qdel; crashes anywhere.
 *
 * Promises: D runs only once X is over; once X is over D does not wait, without a crash at once,
 * after a crash or an rm from the next sweep on, also if X is kept; what was acknowledged before a
 * qdel of X began does not run, it is buried.
 *
 * Rules: NO_MOTION NO_OVER_FIRST NO_LOOK_AFTER NO_UNLOCK_THEN_LOOK NO_OWN_LINKS_LOCKED NO_DONE_IS_OVER
 * Rules: NO_WAIT_MAY_GO NO_SWEEP_WAITING NO_SEEN_FIRST NO_BURY_FIRST NO_LOOK_ONCE_MORE */
#ifndef CRASHES
#define CRASHES 1
#endif
#define RETRIES 1

#define X 1
#define D 2
#define INODES 3
#define TMP_D 0
#define NEW(j) (j)
#define CUR_X 3
#define DONE_X 4
#define KEY_X 5    /* .key/LABEL/X */
#define JOB 6      /* .wait/X/.job */
#define WAIT 7     /* .wait/X/D */
#define BURIED_D 8
#define NAMES 9
#include "spool.pml"

bool wait_there; /* .wait/X/ */
bool moved;      /* an event of X that D's sender has not read yet */
bool by_hand, must_bury, acknowledged, over_D;
bool last_sweep;

#define alive_X (name[NEW(X)] != 0 || name[CUR_X] != 0)

/* Into .wait/X/, which somebody may have removed. */
inline into_wait(from, to, linked, ok)
{
	atomic {
		MAY_DIE;
		d_step {
			ok = (wait_there && name[from] != 0);
			if
			:: ok && name[to] == 0 ->
				name[to] = name[from];
				if
				:: linked -> nlink[name[to]]++
				:: else -> name[from] = 0
				fi
			:: else
			fi
		}
	}
}

inline remove_wait()
{
	atomic {
		MAY_DIE;
		d_step {
			if
			:: name[WAIT] == 0 && name[JOB] == 0 -> wait_there = false
			:: else
			fi
		}
	}
}

/* T17, or T9: what waits, under its lock. */
inline move_waiting(to, ok)
{
	if
	:: name[WAIT] != 0 ->
		hold(WAIT, D, ok);
		if
		:: ok ->
			rename_name(WAIT, to, ok);
			unlock(D)
		:: else
		fi
	:: else
	fi
}

/* OWN-LINKS: is X over? Counted under its lock; who has that looks by himself when he ends X. */
inline look_over(done, ok)
{
	atomic { linked = (name[JOB] != 0); done = !linked };
	if
	:: linked && nlink[X] == 1 -> done = true
	:: linked && nlink[X] > 1 ->
#ifndef NO_OWN_LINKS_LOCKED
		atomic {
			MAY_DIE;
			d_step {
				ok = (lock[X] == 0);
				if
				:: ok -> lock[X] = _pid
				:: else
				fi
			}
		};
		if
		:: ok ->
#endif
			own = (name[JOB] != 0) + (name[KEY_X] != 0);
			done = (nlink[X] <= own);
#ifndef NO_DONE_IS_OVER
			done = done || (name[DONE_X] != 0);
#endif
			atomic { unlock(X); own = 0 }
#ifndef NO_OWN_LINKS_LOCKED
		:: else
		fi
#endif
	:: else -> done = true
	fi
}

/* T16 */
proctype dependent(bool mortal)
{
	bool ok, done, linked;
	byte found, own;

	create(TMP_D, D);
again:
	moved = false; /* MOTION: watch, read all directories, then the events */
	found = 0;
	if
	:: name[NEW(X)] != 0 -> found = NEW(X)
	:: else
	fi;
	if
	:: found == 0 && name[CUR_X] != 0 -> found = CUR_X
	:: else
	fi;
	if
#ifndef NO_MOTION
	:: found == 0 && moved -> goto again
#endif
	:: found == 0 && (true
#ifndef NO_MOTION
			  && !moved
#endif
			  ) ->
		atomic {
			rename_name(TMP_D, NEW(D), ok);
			unlock(D)
		};
		goto sent
	:: found != 0
	fi;
	atomic { MAY_DIE; wait_there = true }; /* mkdir */
	into_wait(found, JOB, true, ok);
	if
	:: !ok -> goto again
	:: else
	fi;
#ifdef NO_LOOK_AFTER
	look_over(done, ok);
#endif
	into_wait(TMP_D, WAIT, false, ok); /* Commit. */
	if
#ifndef NO_WAIT_MAY_GO
	:: !ok -> goto again
#else
	:: !ok -> acknowledged = true; goto died
#endif
	:: else
	fi;
#ifndef NO_UNLOCK_THEN_LOOK
	unlock(D);
#endif
#ifndef NO_LOOK_AFTER
	look_over(done, ok);
#endif
	if
	:: done ->
		unlock(D);
		move_waiting(NEW(D), ok)
	:: else
	fi;
sent:
	acknowledged = true;
died:
	atomic { unlock(D); ok = false; done = false; linked = false; found = 0; own = 0 }
}

/* The end of X: OVER-FIRST. */
inline end_X(ok)
{
#ifdef NO_OVER_FIRST
	move_waiting(NEW(D), ok);
#endif
	if
	:: atomic { unlink_name(CUR_X, ok); moved = true } /* T5. Commit. */
	:: atomic { rename_name(CUR_X, DONE_X, ok); moved = true } /* T21. Commit. */
	fi;
	unlink_name(KEY_X, ok);
	unlink_name(JOB, ok);
#ifndef NO_OVER_FIRST
	move_waiting(NEW(D), ok);
#endif
	remove_wait()
}

proctype worker(bool mortal)
{
	bool ok;
	byte retries;

end:
	do
	:: name[NEW(X)] != 0 && lock[X] == 0 ->
		hold(NEW(X), X, ok);
		if
		:: ok ->
			atomic { rename_name(NEW(X), CUR_X, ok); moved = true }; /* T3 */
			if
			:: name[KEY_X] != 0 -> unlink_name(KEY_X, ok) /* --key-until start */
			:: else
			fi;
			if
			:: retries < RETRIES -> /* T6 */
				atomic {
					rename_name(CUR_X, NEW(X), ok);
					moved = true;
					retries++
				}
			:: true -> end_X(ok)
			fi
		:: else
		fi;
died:
		atomic { unlock(X); unlock(D); ok = false }
	:: name[CUR_X] != 0 && lock[X] == 0 -> /* T12 */
		hold(CUR_X, X, ok);
		if
		:: ok -> atomic { rename_name(CUR_X, NEW(X), ok); moved = true }
		:: else
		fi;
		atomic { unlock(X); ok = false }
	:: atomic {
		name[NEW(D)] != 0 && lock[D] == 0 -> /* T3 and T5 of D */
		assert(!alive_X && !must_bury);
		name[NEW(D)] = 0;
		over_D = true
	   }
	od
}

/* With a scan of a qwork, and at the end once more. */
proctype sweep(bool mortal)
{
	bool ok, done, seen, linked;
	byte own;

	do
	:: true ->
#ifndef NO_SWEEP_WAITING
		if
		:: wait_there ->
#ifndef NO_SEEN_FIRST
			seen = (name[WAIT] != 0); /* who is there, came when .job was there */
#else
			seen = true;
#endif
			look_over(done, ok);
			if
			:: done && linked -> unlink_name(JOB, ok)
			:: else
			fi;
			if
			:: done && seen -> move_waiting(NEW(D), ok)
			:: else
			fi;
			remove_wait()
		:: else
		fi;
#endif
died:
		atomic { ok = false; done = false; seen = false; linked = false; own = 0 };
end:
		last_sweep;
		last_sweep = false
	od
}

/* Who removes X: rm, and T11. */
proctype person(bool mortal)
{
	bool ok, depended;

end:
	if
	:: atomic {
		name[NEW(X)] != 0 ->
		unlink_name(NEW(X), ok);
		by_hand = true;
		moved = true
	   }
	:: name[NEW(X)] != 0 && lock[X] == 0 ->
		atomic {
			hold(NEW(X), X, ok);
			depended = acknowledged && ok
		};
		if
		:: ok ->
#ifndef NO_BURY_FIRST
			move_waiting(BURIED_D, ok);
#endif
			atomic { /* Commit. */
				unlink_name(NEW(X), ok);
				moved = true;
				must_bury = depended
			};
			unlink_name(KEY_X, ok);
			unlink_name(JOB, ok);
#ifndef NO_LOOK_ONCE_MORE
			move_waiting(BURIED_D, ok);
#endif
			remove_wait()
		:: else
		fi
	fi;
died:
	atomic { unlock(X); unlock(D); ok = false; depended = false }
}

proctype judge()
{
	timeout;
	assert(crashes > 0 || by_hand || over_D || name[BURIED_D] != 0);
	atomic { crashes = CRASHES; last_sweep = true };
	timeout;
	assert(!acknowledged || over_D || name[BURIED_D] != 0);
	assert(!alive_X && name[WAIT] == 0)
}

init
{
	atomic {
		name[NEW(X)] = X;
		name[KEY_X] = X;
		nlink[X] = 2;
		run dependent(true);
		run worker(true);
		run sweep(true);
		run person(true);
		run judge()
	}
}
