#include "pick.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
	DONE_BY_OTHERS = -2, /* no sysexits status: nothing is left to do, by no merit of ours */
	TRIES = 5,           /* a job may move between finding it and doing the verb */
	KILL_GRACE_MS = 5000 /* between TERM and KILL */
};

void pick_option(struct pick *pick, int option, const char *help)
{
	switch (option) {
	case 'n':
		pick->oldest = cli_number("--oldest", optarg, 1, INT64_MAX);
		break;
	case PICK_ALL:
		pick->all = true;
		break;
	case PICK_DRY_RUN:
		pick->dry_run = true;
		break;
	default:
		cli_option(&pick->cli, option, help);
	}
}

struct gathering {
	const struct pick *pick;
	struct places *places;
	int64_t before_ms;
};

static int gather(void *arg, const struct job_place *place)
{
	const struct gathering *g = arg;

	if (!place->ours || (int64_t)(job_id_sent_ns(place->name.id) / 1000000) >= g->before_ms)
		return 0;
	return places_add(g->places, place);
}

static int64_t sent_before(const struct pick *pick)
{
	return pick->older_ms < 0 ? INT64_MAX : cli_now_ms() - pick->older_ms;
}

static int gather_queue(
    const struct pick *pick, struct spool *spool, const char *queue, struct places *places)
{
	struct gathering g = {pick, places, sent_before(pick)};

	for (enum job_state s = JOB_READY; s < JOB_STATES; s++)
		if (pick->states & PICK_BIT(s) && spool_each(spool, queue, s, gather, &g) != 0)
			return cli_complain(spool, NULL);
	return EX_OK;
}

static int gather_all(const struct pick *pick, struct spool *spool, struct places *places)
{
	struct strings queues = {0};
	int status = EX_OK;

	if (pick->cli.queue ? strings_add(&queues, pick->cli.queue) != 0
	                    : spool_queues(spool, &queues) != 0)
		return cli_complain(spool, NULL);
	for (size_t i = 0; i < queues.count; i++)
		status =
		    cli_first_failure(status, gather_queue(pick, spool, queues.item[i], places));
	strings_release(&queues);
	places_sort(places);
	if (pick->oldest >= 0 && (unsigned long long)pick->oldest < places->count)
		places->count = (size_t)pick->oldest;
	return status;
}

static int complain_running(
    const struct pick *pick, struct spool *spool, const struct job_place *place)
{
	struct job_runner runner;
	char worker[32] = "", handler[32] = "";
	bool both;

	if (spool_runner(spool, place, &runner) <= 0)
		return -1; /* not any more: look again */
	both = runner.worker && runner.handler;
	if (runner.worker)
		snprintf(
		    worker, sizeof worker, " (qwork pid %d%s", (int)runner.worker, both ? "" : ")");
	if (runner.handler)
		snprintf(handler, sizeof handler, "%shandler pid %d)", both ? ", " : " (",
		    (int)runner.handler);
	warnx("job %s is running in queue %s%s%s; %s", place->name.id, place->queue, worker,
	    handler, pick->can_kill ? "--kill ends it first" : "wait, or end it with qbury --kill");
	return EX_TEMPFAIL;
}

/* Finds the job again, wherever it moved. False if it is no more. */
static bool find_again(struct spool *spool, struct job_place *place)
{
	struct job_word word = {.text = place->name.id};

	if (spool_find(spool, NULL, &word, 1) != 0 || word.matches != 1)
		return false;
	*place = word.place;
	return true;
}

/* A job that was named is asked for by its name; of all those that a filter selected,
 * some may end meanwhile. */
static int gone(const struct pick *pick, const struct job_place *place)
{
	if (pick->by_filter)
		return DONE_BY_OTHERS;
	warnx("job %s ended meanwhile", place->name.id);
	return EX_NOINPUT;
}

/* EX_OK to go on with what is at PLACE now; -1 if the verb is to be tried again. */
static int end_running(const struct pick *pick, struct spool *spool, struct job_place *place)
{
	struct job_runner runner;
	int held = spool_runner(spool, place, &runner);

	if (held < 0)
		return cli_complain(spool, place->name.id);
	if (held == 0)
		return EX_OK;
	if (!pick->kill)
		return complain_running(pick, spool, place);
	if (spool_end_handler(spool, place, KILL_GRACE_MS) < 0)
		return cli_complain(spool, place->name.id);
	return EX_OK;
}

/* The verb was done, but. */
static int complain_of_done(
    const struct pick *pick, struct spool *spool, const struct job_place *place, int done)
{
	bool unsure = done == SPOOL_UNSURE;
	char what[128];
	int status;

	snprintf(what, sizeof what, "job %s was %s, but %s", place->name.id, pick->done,
	    unsure ? "a power cut may undo it" : "this is left of it until a qwork sweeps");
	status = cli_complain(spool, what);
	return unsure ? EX_TEMPFAIL : status;
}

static int complain_of_key(const struct spool *spool, const struct job_place *place)
{
	warnx("job %s: job %s has its key; wait for that one, or delete it", place->name.id,
	    spool_holder(spool));
	return EX_TEMPFAIL;
}

/* One try: -1 if the job moved. */
static int try_one(const struct pick *pick, struct spool *spool, struct job_place *place)
{
	int status = EX_OK, done;
	const char *why;

	if (place->state == JOB_RUNNING) {
		status = end_running(pick, spool, place);
		if (status != EX_OK)
			return status;
		if (!find_again(spool, place))
			return gone(pick, place);
	}
	why = pick->refuse ? pick->refuse(pick, place, &status) : NULL;
	if (why && status != EX_OK)
		warnx("job %s is %s, %s", place->name.id, job_state_name(place->state), why);
	if (why)
		return status;
	done = pick->verb(spool, place, pick->arg);
	if (done < 0)
		return errno == EBUSY && place->state == JOB_RUNNING
		    ? -1
		    : cli_complain(spool, place->name.id);
	if (done == SPOOL_HELD)
		return complain_of_key(spool, place);
	if (done > 1)
		return complain_of_done(pick, spool, place, done);
	return done == 1 ? EX_OK : -1;
}

static int do_one(const struct pick *pick, struct spool *spool, struct job_place place)
{
	int status = -1;

	if (pick->dry_run) {
		printf("%s %s %s\n", place.name.id, place.queue, job_state_name(place.state));
		return EX_OK;
	}
	for (int i = 0; status == -1 && i < TRIES; i++) {
		if (i > 0 && !find_again(spool, &place))
			status = gone(pick, &place);
		else
			status = try_one(pick, spool, &place);
	}
	if (status == -1) {
		warnx("job %s keeps moving; nothing was done to it", place.name.id);
		return EX_TEMPFAIL;
	}
	if (status == EX_OK && pick->cli.verbose)
		puts(place.name.id);
	return status == DONE_BY_OTHERS ? EX_OK : status;
}

static int do_filtered(const struct pick *pick, struct spool *spool)
{
	struct places places = {0};
	int status = gather_all(pick, spool, &places);

	for (size_t i = 0; i < places.count; i++)
		status = cli_first_failure(status, do_one(pick, spool, places.item[i]));
	places_release(&places);
	return status;
}

static int do_word(const struct pick *pick, struct spool *spool, const struct job_word *word)
{
	int status = cli_found(spool, word);
	char *text;

	if (status != EX_OK)
		return status;
	if (word->place.ours)
		return do_one(pick, spool, word->place);
	text = cli_visible(word->place.file);
	warnx("%s is no job yet but a file in %s/%s/new: use rm or mv", text, spool_path(spool),
	    word->place.queue);
	free(text);
	return EX_DATAERR;
}

static int do_named(const struct pick *pick, struct spool *spool, const struct strings *words)
{
	int status;
	struct job_word *word = cli_find(&pick->cli, spool, words, &status);

	for (size_t i = 0; status != EX_OSERR && i < words->count; i++)
		status = cli_first_failure(status, do_word(pick, spool, &word[i]));
	free(word);
	return status;
}

static int run_in_spool(const struct pick *pick, const struct strings *words)
{
	struct spool *spool = cli_open(&pick->cli, false, false);
	int status;

	if (pick->cli.queue && !spool_has_queue(spool, pick->cli.queue)) {
		warnx("no queue %s in %s", pick->cli.queue, spool_path(spool));
		status = EX_NOINPUT;
	} else {
		status = words ? do_named(pick, spool, words) : do_filtered(pick, spool);
	}
	spool_close(spool);
	return status;
}

int pick_run(struct pick *pick, int count, char *const *argv)
{
	bool filter = pick->all || pick->oldest >= 0 || pick->filtered;
	struct strings words = {0};
	int status = EX_OK;

	signal(SIGPIPE, SIG_IGN); /* of who reads the ids: do all, then say so */
	if (pick->all && pick->oldest >= 0)
		cli_usage("--all and --oldest exclude each other");
	if (filter && count > 0)
		cli_usage("jobs are named, or selected by options, not both");
	pick->by_filter = filter;
	if (!filter)
		cli_words(count, argv, &words);
	if (filter || words.count > 0) /* no ids on standard input are no jobs, and no error */
		status = run_in_spool(pick, filter ? NULL : &words);
	cli_finish_output();
	strings_release(&words);
	return status;
}
