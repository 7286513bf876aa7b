"""Whether what orders jobs among each other was kept; told from the records of soak_judge.py.

Only what is certain counts: a job surely has its key from the instant at which its id was read from
qsend until the first at which it can have lost it, and runs from the start to the end that its
handler wrote down itself. So a machine that is slow makes this blind, and never wrong.
"""
import collections

KINDS = {
    "keyed": "had a key at the same time as another job",
    "paired": "ran at the same time as another job of its key",
    "held": "keys that were refused though nobody had them",
    "ordered": "ran before what they waited for was over",
    "orphaned": "ran though what they waited for was deleted",
    "stuck": "waited still when all was over that they waited for",
    "joined": "became members of a batch that was sealed",
    "barred": "were refused by a batch for no reason",
    "exceeded": "handlers beyond the limit of a resource",
    "rushed": "started sooner than the rate of a resource allows",
    "misled": "ended otherwise than qsend --wait said",
    "unkept": "were to be kept and are not, or not with what they wrote",
}
EXIT_BURY, EXIT_UNAVAILABLE, EXIT_SIGNAL = 65, 69, 128
NEVER = float("inf")


class Order:
    """What a call asked for."""

    def __init__(self, words):
        pairs = [word.partition("=")[::2] for word in words]
        self.after = [value for word, value in pairs if word == "after"]
        self.limits = dict(value.split("=") for word, value in pairs if word == "resource")
        first = dict(pairs)
        self.key = first.get("key")
        self.until_start = first.get("until") == "start"
        self.batch = first.get("batch")
        self.keep = first.get("keep")


class OrderJudge:
    def __init__(self, records, judge):
        self.r = records
        self.judge = judge
        self.members = collections.defaultdict(set)  # tokens of each batch
        self.after = collections.defaultdict(list)  # tokens that wait for an id or a batch
        for token in {*records.ids, *records.acked}:
            order = self.order(token)
            if order.batch:
                self.members[order.batch].add(token)
            for item in order.after:
                self.after[item].append(token)

    def order(self, token):
        offer = self.r.offers.get(token.partition(".")[0])
        return offer.order if offer else Order(())

    def offer(self, token):
        return self.r.offers[token.partition(".")[0]]

    def all(self):
        self.check_dependents()
        self.check_deletions()
        self.check_sealing()
        self.check_refusals()
        self.check_keys()
        self.check_limits()
        self.check_rates()
        self.check_results()
        self.check_waiting()
        self.check_waits()
        self.check_kept()

    # --- what is known of a job ---

    def starts(self, token):
        return sorted((start for job_id in self.r.ids[token]
                       for start in self.r.starts.get(job_id, ())), key=lambda start: start.at)

    def freed(self, token, since, until):
        """Somebody may have kicked it, or moved it out of where it waited, within that time."""
        return any(self.judge.acts(job_id, ("kick", "ready"), since, until)
                   for job_id in self.r.ids[token])

    def first_start(self, token):
        """Its first, if it had to wait for that."""
        starts = self.starts(token)
        return starts[0].at if starts and not self.freed(token, 0, starts[0].at) else None

    def last_run(self, token):
        return max((at for job_id in self.r.ids[token] for at in self.judge.ran(job_id)), default=0)

    def tokens_of(self, item):
        """Of an id, or of a batch."""
        if item in self.members:
            return self.members[item]
        return {self.r.token[item]} if item in self.r.token else set()

    def acked_at(self, token):
        return self.r.acked_at.get(token, NEVER)

    # --- what waits ---

    def check_dependents(self):
        for item, dependents in self.after.items():
            for before in self.tokens_of(item):
                ran = self.last_run(before)
                for token in dependents:
                    start = self.first_start(token)
                    if start is not None and ran > start:
                        self.r.violation("ordered", token, f"before {item} ({before})")

    def check_deletions(self):
        for act in self.r.acts.values():
            if act.verb == "delete" and not act.by_hand:
                for job_id in act.did:
                    self.check_deletion(act, job_id)

    def check_deletion(self, act, job_id):
        """Who surely waited for it, or for something before it in its list, was buried; what was
        finished and kept was over."""
        token = self.r.token.get(job_id)
        if token is None or any(at < act.ended for at, _ in self.r.done.get(token, ())):
            return
        for item in (job_id, self.order(token).batch):
            for dependent in self.after.get(item, ()):
                if self.acked_at(dependent) < act.began and \
                        self.first_start(dependent) is not None:
                    self.r.violation("orphaned", dependent, f"by the deletion of {job_id}")

    def check_waiting(self):
        """When all was calm, what waits does so for what is buried or waits itself."""
        aside = self.r.buried | self.r.waiting
        for token in self.r.waiting:
            order = self.order(token)
            if not any(self.tokens_of(item) & aside for item in order.after):
                self.r.violation("stuck", token, f"after {' '.join(order.after)}")

    def check_waits(self):
        for at, items in self.r.waited:
            for item in items:
                for token in self.tokens_of(item):
                    if self.last_run(token) > at:
                        self.r.violation("ordered", token, "ran after qwait had ended")

    # --- batches ---

    def sealed_at(self, batch):
        """When it surely was."""
        times = [at for at, items in self.r.waited if batch in items]
        times += [self.acked_at(token) for token in self.after.get(batch, ())]
        return min(times, default=NEVER)

    def check_sealing(self):
        for batch, tokens in self.members.items():
            sealed = self.sealed_at(batch)
            for token in tokens:
                if self.offer(token).at > sealed:
                    self.r.violation("joined", token, f"batch {batch}")

    def check_refusals(self):
        for at, call, why, *holder in self.r.refused:
            order, offered = self.r.offers[call].order, self.r.offers[call].at
            if why == "held":
                self.check_holder(call, order.key, offered, at, *holder)
            elif why == "sealed" and not self.may_be_sealed(order.batch, at):
                self.r.violation("barred", call, f"nobody waits for {order.batch}")
            elif why == "unknown" and not any(self.is_unknown(item, offered)
                                              for item in order.after):
                self.r.violation("barred", call, f"has begun: {' '.join(order.after)}")
            elif why == "deleted" and not any(self.may_be_deleted(item, at)
                                              for item in order.after):
                self.r.violation("barred", call, f"nothing deleted: {' '.join(order.after)}")

    def may_be_sealed(self, batch, at):
        return any(began < at and batch in items for began, items in self.r.may_wait) or \
            any(offer.at < at and batch in offer.order.after for offer in self.r.offers.values())

    def may_be_deleted(self, item, at):
        """A qdel of many that was killed does not tell all that it deleted."""
        ids = {job_id for token in self.tokens_of(item) for job_id in self.r.ids[token]}
        return any(act.verb == "delete" and act.began < at and
                   (ids & {*act.jobs, *act.did} or not act.jobs) for act in self.r.acts.values())

    def is_unknown(self, item, offered):
        return item not in self.r.token and \
            not any(self.acked_at(token) < offered for token in self.members.get(item, ()))

    # --- keys ---

    def check_holder(self, call, key, offered, at, holder):
        token = self.r.token.get(holder)
        if f"{call}.0" in self.r.ids:
            self.r.violation("unknown", f"{call}.0", "was sent though its key was held")
        if token and self.order(token).key != key:
            self.r.violation("held", call, f"by {holder} of another key")
        if self.is_dead(holder, offered, at):
            self.r.violation("held", call, f"by {holder}")

    def is_dead(self, job_id, offered, at):
        for act in self.r.acts_on.get(job_id, ()):
            if job_id in act.did and act.ended < offered and (act.verb == "delete" or (
                    act.verb == "bury" and
                    not self.judge.acts(job_id, ("kick", "ready"), act.began, at))):
                return True
        return False

    def check_keys(self):
        alive, runs = collections.defaultdict(list), collections.defaultdict(list)
        for token in {*self.r.acked, *self.r.ids}:
            order = self.order(token)
            if order.key and token in self.r.acked:
                alive[order.key].append((self.acked_at(token), self.lost_key_at(token), token))
            if order.key and not order.until_start:
                runs[order.key] += self.runs(token)
        for kind, spans in (("keyed", alive), ("paired", runs)):
            for key, found in spans.items():
                self.check_spans(kind, found, 1, f"key {key}")

    def lost_key_at(self, token):
        """Not before that."""
        job_id, order = self.r.acked[token], self.order(token)
        times = [at for at, _ in self.r.done.get(token, ())]
        times += [at for at, status in self.r.failed.get(token, ()) if status == EXIT_BURY]
        times += [start.at for start in self.starts(token) if start.attempt >= start.attempts]
        of_others = {other for item in order.after for member in self.tokens_of(item)
                     for other in self.r.ids[member]}
        times += [act.began for other in {job_id, *of_others}
                  for act in self.judge.acts(other, ("bury", "delete", "kick", "ready"), 0, NEVER)]
        if order.until_start:
            times.append(self.offer(token).not_before)
        return min(times, default=NEVER)

    def check_limits(self):
        runs, limits = collections.defaultdict(list), {}
        for token in list(self.r.ids):
            for name, limit in self.order(token).limits.items():
                limits[name] = int(limit)
                runs[name] += self.runs(token)
        for name, found in runs.items():
            self.check_spans("exceeded", found, limits[name], f"resource {name}")

    def check_rates(self):
        """Of a resource of which one at a time runs. The token of each start was taken after the
        one before it had started: those of a window, but the first one's, within it. The clock
        of qwork may be made to run faster than ours."""
        for name, (since, each, burst) in self.r.rates.items():
            each -= each // 1000
            starts = sorted((start.at, token) for token in list(self.r.ids)
                            if name in self.order(token).limits for start in self.starts(token)
                            if since < start.at < self.r.unrated)
            latest = -NEVER  # of all starts before, each less what comes until then
            for number, (at, token) in enumerate(starts):
                if at - number * each < latest - burst * each:
                    self.r.violation("rushed", token, f"resource {name}")
                latest = max(latest, at - number * each)

    def check_results(self):
        for at, job_id, status, words in self.r.results:
            token = self.r.token[job_id]
            if not self.may_end(token, at, status, words):
                self.r.violation("misled", token, f"exit status {status}: {' '.join(words)}")

    def may_end(self, token, at, status, words):
        """Whether qsend --wait may have said so then."""
        job_id = self.r.acked[token]
        if status == 0:
            return any(words == ["start", token, str(pid), "end", token, str(pid)]
                       for done, pid in self.r.done.get(token, ()) if done < at)
        if any(failed < at and said == status for failed, said in self.r.failed.get(token, ())):
            return True
        broken = job_id in self.r.timed_out or any(
            began == ended or start.parent in self.r.signalled or start.pid in self.r.signalled
            for (began, ended, _), start in zip(self.runs(token), self.starts(token)))
        touched = any(act.began < at for act in self.r.acts_on.get(job_id, ()))
        return status >= EXIT_SIGNAL and broken or status == EXIT_UNAVAILABLE and (broken or touched)

    def runs(self, token):
        """(start, end, token) of each handler; of one that was killed the start alone."""
        ends = [*self.r.done.get(token, ()), *self.r.failed_at.get(token, ())]
        return [(start.at, min((at for at, pid in ends if pid == start.pid and at >= start.at),
                               default=start.at), token) for start in self.starts(token)]

    def check_spans(self, kind, spans, limit, what):
        """Never more than LIMIT of them at a time."""
        present = []
        for span in sorted(spans):
            began, ended, token = span
            present = [other for other in present if other[1] > began]
            if ended > began:
                present.append(span)
            others = {other[2] for other in present} - {token}
            if len(others) >= limit and ended > began:
                self.r.violation(kind, token, f"{what}, with {' '.join(sorted(others))}")

    # --- what is kept ---

    def check_kept(self):
        for token, job_id in self.r.acked.items():
            done = self.r.done.get(token)
            if self.order(token).keep == "1h" and done and \
                    token not in {*self.judge.deleted, *self.judge.maybe_deleted}:
                wanted = ["start", token, str(done[-1][1]), "end", token, str(done[-1][1])]
                if self.r.kept.get(job_id) != wanted:
                    self.r.violation("unkept", token, str(self.r.kept.get(job_id)))
