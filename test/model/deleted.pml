/* The deletion of a job that others depend on: X; D, which is being sent --after A --after X, or --after X
 * alone; who ends A and passes D on; a qwork that runs X, a qdel of X, a sweep; crashes anywhere.
 *
 * Promises: what was acknowledged before a qdel that deletes X looked for .job does not run, wherever it
 * waited then; nothing is buried by a mark unless X was deleted; nothing runs before X is over; once X is over
 * D does not wait, without a crash at once, after a crash from the next sweep on.
 *
 * Rules: NO_DELETED_FIRST NO_REVOKE_FIRST NO_OVER_THEN_MARK NO_MARK_KEPT */
#ifndef CRASHES
#define CRASHES 1
#endif

#define X 1
#define D 2
#define INODES 3
#define TMP_D 0
#define NEW_X 1
#define CUR_X 2
#define NEW_D 3
#define JOB 4    /* .wait/X/.job */
#define WAIT_A 5 /* .wait/A/D */
#define WAIT 6   /* .wait/X/D */
#define BURIED_D 7
#define NAMES 8
#include "spool.pml"

bool wait_there; /* .wait/X/ */
bool marked;     /* .wait/X/.deleted */
bool deleted, must_bury, acknowledged, over_D;
bool last_sweep;

#define alive_X (name[NEW_X] != 0 || name[CUR_X] != 0)

/* Is X over, and was it deleted? In this order: its deletion is marked while it is not over. */
inline look(over, doomed)
{
#ifdef NO_OVER_THEN_MARK
	doomed = marked;
#endif
	over = (name[JOB] == 0 || nlink[X] <= 1);
#ifndef NO_OVER_THEN_MARK
	doomed = (over && marked)
#endif
}

/* T17, or T9, of D, which is held. */
inline go_on(from, doomed, ok)
{
	if
	:: doomed ->
		assert(deleted);
		rename_name(from, BURIED_D, ok)
	:: else -> rename_name(from, NEW_D, ok)
	fi
}

inline into_wait(from, ok)
{
	atomic {
		MAY_DIE;
		d_step {
			wait_there = true;
			ok = (name[from] != 0);
			if
			:: ok -> name[WAIT] = name[from]; name[from] = 0
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
#ifndef NO_MARK_KEPT
			:: name[WAIT] == 0 && name[JOB] == 0 && !marked -> wait_there = false
#else
			:: name[WAIT] == 0 && name[JOB] == 0 -> wait_there = false; marked = false
#endif
			:: else
			fi
		}
	}
}

/* What waits for X, if that is over. What is held is tried again. */
inline release(over, doomed, ok)
{
	do
	:: name[WAIT] != 0 && lock[D] == 0 ->
		hold(WAIT, D, ok);
		if
		:: ok ->
			look(over, doomed);
			if
			:: over -> go_on(WAIT, doomed, ok)
			:: else
			fi;
			unlock(D);
			break
		:: else
		fi
	:: name[WAIT] == 0 -> break
	od;
	remove_wait()
}

/* T16 */
proctype dependent(bool mortal)
{
	bool ok, over, doomed;

	create(TMP_D, D);
	atomic { /* MOTION, and .wait/X/.job */
		MAY_DIE;
		d_step {
			ok = alive_X;
			if
			:: ok && name[JOB] == 0 -> wait_there = true; name[JOB] = X; nlink[X]++
			:: else
			fi
		}
	};
	if
	:: true -> rename_name(TMP_D, WAIT_A, ok) /* Commit. */
	:: true ->
		look(over, doomed);
		if
		:: doomed -> goto died /* refused */
		:: over && !doomed -> rename_name(TMP_D, NEW_D, ok)
		:: !over ->
			into_wait(TMP_D, ok); /* Commit. */
			unlock(D);
			look(over, doomed);
			if
			:: over -> release(over, doomed, ok)
			:: else
			fi
		fi
	fi;
	acknowledged = true;
died:
	atomic { unlock(D); ok = false; over = false; doomed = false }
}

/* A is over. */
proctype elder(bool mortal)
{
	bool ok, over, doomed;

end:
	name[WAIT_A] != 0 && lock[D] == 0;
	hold(WAIT_A, D, ok);
	look(over, doomed);
	if
	:: over -> go_on(WAIT_A, doomed, ok)
	:: else ->
		into_wait(WAIT_A, ok);
		look(over, doomed);
		if
		:: over -> go_on(WAIT, doomed, ok)
		:: else
		fi
	fi;
died:
	atomic { unlock(D); ok = false; over = false; doomed = false }
}

/* Who has no links has no marks. */
inline revoke()
{
	atomic {
		MAY_DIE;
		if
		:: nlink[X] > 1 -> marked = false
		:: else
		fi
	}
}

proctype worker(bool mortal)
{
	bool ok, over, doomed;

end:
	do
	:: name[NEW_X] != 0 && lock[X] == 0 ->
		hold(NEW_X, X, ok);
		if
		:: ok ->
#ifndef NO_REVOKE_FIRST
			revoke();
#endif
			rename_name(NEW_X, CUR_X, ok) /* T3 */
		:: else
		fi;
		if
		:: ok ->
			unlink_name(CUR_X, ok); /* T5. Commit. */
#ifdef NO_REVOKE_FIRST
			revoke();
#endif
			unlink_name(JOB, ok);
			release(over, doomed, ok)
		:: else
		fi;
died:
		atomic { unlock(X); unlock(D); ok = false; over = false; doomed = false }
	:: name[CUR_X] != 0 && lock[X] == 0 -> /* T12 */
		hold(CUR_X, X, ok);
		if
		:: ok -> rename_name(CUR_X, NEW_X, ok)
		:: else
		fi;
		atomic { unlock(X); ok = false }
	:: atomic {
		name[NEW_D] != 0 && lock[D] == 0 -> /* T3 and T5 of D */
		assert(!alive_X && !must_bury);
		name[NEW_D] = 0;
		over_D = true
	   }
	od
}

inline bury(ok)
{
	do
	:: name[WAIT] != 0 && lock[D] == 0 ->
		hold(WAIT, D, ok);
		if
		:: ok ->
			rename_name(WAIT, BURIED_D, ok);
			unlock(D);
			break
		:: else
		fi
	:: name[WAIT] == 0 -> break
	od
}

/* If something waits for it; it is deleted for who was acknowledged by then. */
inline mark(depended)
{
	atomic {
		MAY_DIE;
		d_step {
			depended = acknowledged;
			marked = marked || name[JOB] != 0
		}
	}
}

/* T11 */
proctype deleter(bool mortal)
{
	bool ok, depended;

end:
	name[NEW_X] != 0 && lock[X] == 0;
	hold(NEW_X, X, ok);
	if
	:: ok ->
		bury(ok);
#ifndef NO_DELETED_FIRST
		mark(depended);
#else
		depended = acknowledged;
#endif
		atomic { /* Commit. */
			unlink_name(NEW_X, ok);
			deleted = true;
			must_bury = depended
		};
#ifdef NO_DELETED_FIRST
		mark(depended);
#endif
		unlink_name(JOB, ok);
		bury(ok);
		remove_wait()
	:: else
	fi;
died:
	atomic { unlock(X); unlock(D); ok = false; depended = false }
}

/* With a scan of a qwork, and at the end once more. */
proctype sweep(bool mortal)
{
	bool ok, over, doomed;

	do
	:: true ->
		if
		:: wait_there ->
			look(over, doomed);
			if
			:: over && name[JOB] != 0 -> unlink_name(JOB, ok)
			:: else
			fi;
			if
			:: over -> release(over, doomed, ok)
			:: else
			fi
		:: else
		fi;
died:
		atomic { unlock(D); ok = false; over = false; doomed = false };
end:
		last_sweep;
		last_sweep = false
	od
}

proctype judge()
{
	timeout;
	assert(crashes > 0 || over_D || name[BURIED_D] != 0 || name[TMP_D] != 0);
	atomic { crashes = CRASHES; last_sweep = true };
	timeout;
	assert(!acknowledged || over_D || name[BURIED_D] != 0);
	assert(!alive_X && name[WAIT] == 0 && name[WAIT_A] == 0)
}

init
{
	atomic {
		name[NEW_X] = X;
		nlink[X] = 1;
		run dependent(true);
		run elder(false);
		run worker(true);
		run sweep(true);
		run deleter(true);
		run judge()
	}
}
