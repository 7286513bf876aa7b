/* Keys: A was sent with the key, B is being sent with it, and C is, meanwhile or last; two qworks that
 * finish, bury and recover; a person who kicks, or moves by hand; a sweep; crashes anywhere.
 *
 * Promises: no two jobs of a key run at once, nor are two links in its directory; a sender that is
 * told who has the key is told a job that is alive; in the end the next sender gets it; what was
 * acknowledged ends, and is not buried for want of a key that it has never given away; no job is
 * left buried with the key, but for what a person did.
 *
 * Rules: NO_CHECK NO_LINK_FIRST NO_ONE_KEY NO_KEY_BEFORE_RUN NO_OVER_IS_FREE
 * Rules: NO_DRAFT_IS_FREE NO_BURIED_IS_FREE NO_BURIED_IS_AWAITED NO_DRAFTS_ARE_OWN_LINKS NO_UNKEY_FIRST */
#ifndef CRASHES
#define CRASHES 1
#endif

#define A 1
#define B 2
#define C 3
#define INODES 4
#define TMP(j) (j)
#define NEW(j) (INODES + (j))
#define CUR(j) (2 * INODES + (j))
#define BURIED(j) (3 * INODES + (j))
#define KEY(j) (4 * INODES + (j))   /* .key/LABEL/ID */
#define DRAFT(j) (5 * INODES + (j)) /* .key/.draft-ID/ID */
#define NAMES (6 * INODES)
byte runner; /* the qwork whose handler runs; it dies with it */
#define AT_DEATH runner = (runner == _pid -> 0 : runner)
#include "spool.pml"

bool acknowledged[INODES], over[INODES], exposed[INODES];
bool by_person, last_sweep;

#define alive(j) (name[NEW(j)] != 0 || name[CUR(j)] != 0)
#define links(j) ((name[KEY(j)] != 0) + (name[DRAFT(j)] != 0))

/* ONE-KEY: the directory with the link is renamed to .key/LABEL, which must be missing or empty. */
inline take_key(j, from, ok)
{
	atomic {
		MAY_DIE;
		d_step {
			if
			:: name[DRAFT(j)] == 0 && name[from] != 0 ->
				name[DRAFT(j)] = j;
				nlink[j]++
			:: else
			fi
		}
	};
	atomic {
		MAY_DIE;
		d_step {
#ifndef NO_ONE_KEY
			ok = (name[DRAFT(j)] != 0 && name[KEY(A)] == 0 && name[KEY(B)] == 0 && name[KEY(C)] == 0);
#else
			ok = (name[DRAFT(j)] != 0);
#endif
			if
			:: ok -> name[KEY(j)] = j; name[DRAFT(j)] = 0
			:: else
			fi
		}
	};
	assert((name[KEY(A)] != 0) + (name[KEY(B)] != 0) + (name[KEY(C)] != 0) <= 1)
}

inline holder(k)
{
	if
	:: name[KEY(A)] != 0 -> k = A
	:: name[KEY(B)] != 0 -> k = B
	:: name[KEY(C)] != 0 -> k = C
	:: else -> k = 0
	fi
}

/* Under the lock of k: its link does not count, since k is over, never was a job, or is buried. */
#ifndef NO_OVER_IS_FREE
#ifndef NO_DRAFTS_ARE_OWN_LINKS
#define is_over(k) (nlink[k] <= links(k))
#else
#define is_over(k) (nlink[k] <= 1)
#endif
#else
#define is_over(k) false
#endif
#ifndef NO_DRAFT_IS_FREE
#define is_draft(k) (name[TMP(k)] != 0)
#else
#define is_draft(k) false
#endif
#ifndef NO_BURIED_IS_FREE
#define is_buried(k) (name[BURIED(k)] != 0)
#else
#define is_buried(k) false
#endif

/* Takes the link of k away if it does not count. held: k has the key, and its lock is free. */
inline free_key(k, ok, held)
{
	held = false;
	hold(KEY(k), k, ok);
	if
	:: ok ->
		atomic {
			held = !(is_over(k) || is_draft(k) || is_buried(k));
			ok = !is_draft(k);
			assert(!held || alive(k)) /* k is told */
		};
		if
		:: !held && !ok -> unlink_name(TMP(k), ok) /* LINK-FIRST */
		:: else
		fi;
		if
		:: !held && ok -> unlink_name(KEY(k), ok)
		:: else
		fi;
		ok = true
	:: else
	fi
}

proctype sender(byte j; bool mortal)
{
	bool ok, held;
	byte k;

	create(TMP(j), j);
#ifdef NO_LINK_FIRST
	rename_name(TMP(j), NEW(j), ok);
	acknowledged[j] = true;
#endif
again:
#ifdef NO_LINK_FIRST
	take_key(j, NEW(j), ok);
#else
	take_key(j, TMP(j), ok);
#endif
	if
	:: ok -> goto sent
	:: else
	fi;
	holder(k);
	if
	:: k == 0 -> goto again
	:: else
	fi;
	free_key(k, ok, held);
	atomic {
		if
		:: held -> unlock(k); goto told
		:: else -> unlock(k)
		fi
	};
	atomic { /* It is locked. Only one that runs is told, others are waited for. */
		if
		:: !ok && lock[k] != 0 && name[CUR(k)] != 0 -> goto told
#ifdef NO_BURIED_IS_AWAITED
		:: !ok && lock[k] != 0 && name[BURIED(k)] != 0 -> assert(alive(k))
#endif
		:: else -> lock[k] == 0 || name[KEY(k)] == 0 || name[CUR(k)] != 0; goto again
		fi
	};
told:
	unlink_name(DRAFT(j), ok);
	unlink_name(TMP(j), ok);
	goto died;
sent:
#ifndef NO_LINK_FIRST
	rename_name(TMP(j), NEW(j), ok); /* T1. Commit. */
#endif
	acknowledged[j] = ok;
died:
	atomic { unlock(j); ok = false; held = false; k = 0 }
}

/* KEY-BEFORE-RUN, and a kick: has is true if j has its key. */
inline need_key(j, from, has, ok, held, k)
{
	do
	:: name[KEY(j)] != 0 -> has = true; break
	:: else ->
		take_key(j, from, has);
		holder(k);
		if
		:: has || k == 0 || k == j
		:: else ->
			free_key(k, ok, held);
			unlock(k);
			if
			:: held || !ok -> break
			:: else
			fi
		fi
	od
}

/* T5 */
inline finish(j, ok)
{
	atomic { unlink_name(CUR(j), ok); runner = 0; over[j] = true }; /* Commit. */
	unlink_name(KEY(j), ok)
}

/* T7, T9 */
inline bury(j, from, ok)
{
#ifndef NO_UNKEY_FIRST
	atomic {
		unlink_name(KEY(j), ok);
		exposed[j] = true;
		AT_DEATH
	};
	rename_name(from, BURIED(j), ok)
#else
	atomic { rename_name(from, BURIED(j), ok); exposed[j] = true; AT_DEATH };
	unlink_name(KEY(j), ok)
#endif
}

inline choose(j, kind)
{
	if
	:: name[kind + A] != 0 && lock[A] == 0 -> j = A
	:: name[kind + B] != 0 && lock[B] == 0 -> j = B
	:: name[kind + C] != 0 && lock[C] == 0 -> j = C
	fi
}

proctype worker(bool mortal)
{
	byte j, k;
	bool ok, has, held;

end:
	do
	:: atomic { choose(j, NEW(0)) };
		hold(NEW(j), j, ok);
		if
		:: ok ->
#ifndef NO_KEY_BEFORE_RUN
			need_key(j, NEW(j), has, ok, held, k);
#else
			has = true;
#endif
			if
			:: has ->
				atomic { /* T3 */
					rename_name(NEW(j), CUR(j), ok);
					if
					:: ok -> assert(runner == 0); runner = _pid
					:: else
					fi
				};
				if
				:: ok -> finish(j, ok)
				:: ok -> bury(j, CUR(j), ok)
				:: else
				fi
			:: else ->
				assert(exposed[j]);
				bury(j, NEW(j), ok)
			fi
		:: else
		fi;
died:
		atomic {
			unlock(j);
			unlock(k);
			j = 0; k = 0; ok = false; has = false; held = false
		}
	:: atomic { choose(j, CUR(0)) }; /* T12 */
		hold(CUR(j), j, ok);
		if
		:: ok -> rename_name(CUR(j), NEW(j), ok)
		:: else
		fi;
		atomic { unlock(j); j = 0; ok = false }
	od
}

/* T10, or mv. */
proctype person(bool mortal)
{
	byte k;
	bool ok, has, held;

end:
	if
	:: atomic { name[BURIED(A)] != 0 -> by_person = true; rename_name(BURIED(A), NEW(A), ok) }
	:: atomic { name[NEW(A)] != 0 -> by_person = true; rename_name(NEW(A), BURIED(A), ok); exposed[A] = true }
	:: name[BURIED(A)] != 0 && lock[A] == 0 ->
		by_person = true;
		hold(BURIED(A), A, ok);
		if
		:: ok ->
			need_key(A, BURIED(A), has, ok, held, k);
			if
			:: has -> rename_name(BURIED(A), NEW(A), ok)
			:: else
			fi
		:: else
		fi
	fi;
died:
	atomic { unlock(A); unlock(k); ok = false; has = false; held = false; k = 0 }
}

/* What a sender left in tmp/. */
proctype sweep(byte j; bool mortal)
{
	bool ok;

	do
	:: true ->
		if
		:: name[TMP(j)] != 0 ->
			hold(TMP(j), j, ok);
			if
			:: ok ->
				unlink_name(TMP(j), ok);
				if
				:: ok ->
					unlink_name(KEY(j), ok);
					unlink_name(DRAFT(j), ok)
				:: else
				fi
			:: else
			fi
		:: else
		fi;
died:
		atomic { unlock(j); ok = false };
end:
		last_sweep;
		last_sweep = false
	od
}

#define settled(j) (over[j] || name[BURIED(j)] != 0 || !acknowledged[j])

proctype judge(bool third)
{
	timeout;
	assert(by_person || !(name[BURIED(A)] != 0 && name[KEY(A)] != 0));
	assert(!(name[BURIED(B)] != 0 && name[KEY(B)] != 0));
	crashes = CRASHES;
	if
	:: !third -> run sender(C, false)
	:: else
	fi;
	timeout;
	assert(settled(A) && settled(B));
	assert(third || over[C] || name[BURIED(C)] != 0)
}

/* Either A is over, and what crashes left of it is the link, and one of an earlier kick, and C comes
 * at the same time as B; or A is alive, and C comes last. */
init
{
	atomic {
		name[KEY(A)] = A;
		nlink[A] = 2;
		acknowledged[A] = true;
		run sender(B, true);
		run worker(true);
		run worker(false);
		run sweep(B, true);
		if
		:: name[DRAFT(A)] = A; over[A] = true; run sender(C, false); run judge(true)
		:: name[NEW(A)] = A; run person(true); run judge(false)
		fi
	}
}
