/* Batches: a member that is sent, one that is being sent, a dependent of the batch, two qworks, a
 * sweep, crashes anywhere.
 *
 * Promises: a dependent runs only once all members are over; nobody joins what is complete; once
 * all is over nobody waits, without a crash at once, after a crash from the next sweep on; an
 * acknowledged job runs.
 *
 * Rules: NO_LINK_FIRST NO_TMP_FIRST NO_OVER_FIRST NO_LOOK_AFTER NO_SEAL NO_SEALER_COMPLETES
 * Rules: NO_OPEN_FIRST NO_SWEEP_MEMBERS NO_SWEEP_DRAFTS NO_SWEEP_WAITING
 * Rules: NO_UNLOCK_THEN_LOOK */
#ifndef CRASHES
#define CRASHES 1
#endif

#define M1 1 /* members */
#define M2 2
#define D 3 /* the dependent */
#define INODES 4
#define TMP(j) (j)
#define NEW(j) (INODES + (j))
#define CUR(j) (2 * INODES + (j))
#define LINK(j) (3 * INODES + (j)) /* open/ID or sealed/ID: one directory, which is renamed */
#define WAIT (4 * INODES)          /* .wait/LABEL/D */
#define NAMES (4 * INODES + 1)
#include "spool.pml"

mtype = { OPEN, SEALED, COMPLETE };
mtype batch = OPEN; /* COMPLETE: neither open/ nor sealed/ is there */
bool wait_there;    /* .wait/LABEL/ */
bool acknowledged[INODES], over[INODES];
bool last_sweep;

#define alive(j) (name[NEW(j)] != 0 || name[CUR(j)] != 0)

/* Takes a link out of the batch: open/ first and then sealed/, the way they go. */
inline remove_link_in(state, j)
{
	atomic {
		MAY_DIE;
		d_step {
			if
			:: batch == state && name[LINK(j)] != 0 -> nlink[j]--; name[LINK(j)] = 0
			:: else
			fi
		}
	}
}
inline remove_link(j)
{
#ifndef NO_OPEN_FIRST
	remove_link_in(OPEN, j);
	remove_link_in(SEALED, j)
#else
	remove_link_in(SEALED, j);
	remove_link_in(OPEN, j)
#endif
}

/* Two calls: is open/ there, is sealed/ there? In this order, too. */
inline look_complete(done)
{
#ifdef NO_SEAL
	done = (name[LINK(M1)] == 0 && name[LINK(M2)] == 0)
#else
#ifndef NO_OPEN_FIRST
	done = (batch != OPEN);
	done = (done && batch != SEALED)
#else
	done = (batch != SEALED);
	done = (done && batch != OPEN)
#endif
#endif
}

/* SEAL: completing is one rmdir of sealed/. Done, too, if somebody else did it. */
inline try_complete(done)
{
#ifndef NO_SEAL
	atomic {
		MAY_DIE;
		d_step {
			if
			:: batch == SEALED && name[LINK(M1)] == 0 && name[LINK(M2)] == 0 ->
				batch = COMPLETE
			:: else
			fi
		}
	};
#endif
	look_complete(done)
}

/* T17: what waits, into new/, under its lock; rmdir .wait/LABEL. */
inline release(ok)
{
	if
	:: name[WAIT] != 0 ->
		hold(WAIT, D, ok);
		if
		:: ok ->
			rename_name(WAIT, NEW(D), ok);
			unlock(D)
		:: else
		fi
	:: else
	fi;
	atomic {
		MAY_DIE;
		d_step {
			if
			:: name[WAIT] == 0 -> wait_there = false
			:: else
			fi
		}
	}
}

proctype member(byte j; bool mortal)
{
	bool ok;

	create(TMP(j), j);
#ifdef NO_LINK_FIRST
	rename_name(TMP(j), NEW(j), ok);
#endif
	atomic { /* LINK-FIRST: link tmp/ID to open/ID, if open/ is there */
		MAY_DIE;
		d_step {
			ok = (batch == OPEN);
			if
			:: ok -> name[LINK(j)] = j; nlink[j]++
			:: else
			fi
		}
	};
#ifndef NO_LINK_FIRST
	if
	:: !ok ->
		unlink_name(TMP(j), ok);
		goto died
	:: else
	fi;
	unlock(j); /* and sleeps maybe, so that a sweep takes it for dead */
	atomic { /* T1. Commit. */
		rename_name(TMP(j), NEW(j), ok);
		assert(!ok || batch != COMPLETE)
	};
#endif
	atomic {
		acknowledged[j] = ok;
died:
		unlock(j)
	}
}

/* T16. D has a key, too, so that its sender keeps the lock until its directories are synced; but it
 * looks without: who met the lock left D to it. */
proctype dependent(bool mortal)
{
	bool ok, done;

	create(TMP(D), D);
again:
#ifndef NO_SEAL
	atomic {
		MAY_DIE;
		d_step {
			if
			:: batch == OPEN -> batch = SEALED
			:: else
			fi
		}
	};
#endif
	look_complete(done);
	if
	:: done ->
		rename_name(TMP(D), NEW(D), ok);
		goto sent
	:: else
	fi;
	atomic { MAY_DIE; wait_there = true }; /* mkdir .wait/LABEL */
#ifdef NO_LOOK_AFTER
	look_complete(done);
#endif
	atomic { /* Commit. */
		MAY_DIE;
		d_step {
			ok = wait_there;
			if
			:: ok -> name[WAIT] = D; name[TMP(D)] = 0
			:: else
			fi
		}
	};
	if
	:: !ok -> goto again
	:: else
	fi;
#ifndef NO_UNLOCK_THEN_LOOK
	unlock(D);
#endif
#ifndef NO_LOOK_AFTER
#ifdef NO_SEALER_COMPLETES
	look_complete(done);
#else
	try_complete(done);
#endif
#endif
	if
	:: done ->
		unlock(D);
		release(ok)
	:: else
	fi;
sent:
	atomic {
		acknowledged[D] = true;
died:
		unlock(D)
	}
}

/* What follows the end of a member: OVER-FIRST. */
inline end_member(j, ok)
{
#ifdef NO_OVER_FIRST
	release(ok);
#endif
	remove_link(j);
	try_complete(ok);
#ifndef NO_OVER_FIRST
	if
	:: ok -> release(ok)
	:: else
	fi
#endif
}

/* What a scan finds; what is locked is tried again later. Not each of the two does all. */
inline choose(j, kind, members, dependents)
{
	if
	:: members && name[kind + M1] != 0 && lock[M1] == 0 -> j = M1
	:: members && name[kind + M2] != 0 && lock[M2] == 0 -> j = M2
	:: dependents && name[kind + D] != 0 && lock[D] == 0 -> j = D
	fi
}

proctype worker(bool mortal)
{
	byte j;
	bool ok;

end:
	do
	:: atomic { choose(j, NEW(0), true, mortal) };
		hold(NEW(j), j, ok);
		if
		:: ok ->
			atomic { /* T3 */
				rename_name(NEW(j), CUR(j), ok);
				assert(j != D || !(alive(M1) || alive(M2)))
			};
			atomic { /* T5. Commit. */
				unlink_name(CUR(j), ok);
				over[j] = true
			};
			if
			:: j != D -> end_member(j, ok)
			:: else
			fi;
died:
			atomic { unlock(j); j = 0; ok = false }
		:: else -> j = 0
		fi
	:: atomic { choose(j, CUR(0), !mortal, !mortal) }; /* T12 */
		hold(CUR(j), j, ok);
		if
		:: ok ->
			rename_name(CUR(j), NEW(j), ok);
			atomic { unlock(j); j = 0; ok = false }
		:: else -> j = 0
		fi
	od
}

/* LINK-FIRST: a sender that only sleeps must find that its job was not sent. */
inline sweep_draft(j, ok)
{
	skip;
#ifndef NO_SWEEP_DRAFTS
	if
	:: name[TMP(j)] != 0 ->
		hold(TMP(j), j, ok);
		if
		:: ok ->
#ifdef NO_TMP_FIRST
			remove_link(j);
#endif
			unlink_name(TMP(j), ok);
#ifndef NO_TMP_FIRST
			if
			:: ok -> remove_link(j)
			:: else
			fi;
#endif
			unlock(j)
		:: else
		fi
	:: else
	fi
#endif
}

/* OWN-LINKS: a link that is the last tells of a job that is over. */
inline sweep_member(j, ok)
{
	skip;
#ifndef NO_SWEEP_MEMBERS
	if
	:: name[LINK(j)] != 0 ->
		atomic {
			hold(LINK(j), j, ok);
			if
			:: ok && nlink[j] > 1 -> unlock(j); ok = false
			:: else
			fi
		};
		if
		:: ok ->
			remove_link(j);
			unlock(j)
		:: else
		fi
	:: else
	fi
#endif
}

/* With a scan of a qwork, and at the end once more. */
proctype sweep(bool mortal)
{
	bool ok;

	do
	:: true ->
		sweep_draft(M1, ok);
		sweep_member(M1, ok);
		sweep_member(M2, ok);
		try_complete(ok);
#ifndef NO_SWEEP_WAITING
		if
		:: ok -> release(ok)
		:: else
		fi;
#endif
died:
		ok = false;
end:
		last_sweep;
		last_sweep = false
	od
}

#define settled(j) (over[j] || !acknowledged[j])

proctype judge()
{
	timeout;
	assert(crashes > 0 || over[D]);
	atomic { crashes = CRASHES; last_sweep = true };
	timeout;
	assert(settled(M1) && settled(M2) && settled(D));
	assert(name[WAIT] == 0 && !alive(M1) && !alive(M2) && !alive(D))
}

/* Only one of those that are alike is mortal. */
init
{
	atomic {
		name[NEW(M2)] = M2;
		name[LINK(M2)] = M2;
		nlink[M2] = 2;
		acknowledged[M2] = true;
		run member(M1, true);
		run dependent(true);
		run worker(true);
		run worker(false);
		run sweep(true);
		run judge()
	}
}
