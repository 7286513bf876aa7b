#include "cli.h"

#include <bsd/stdlib.h>
#include <bsd/vis.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "format/size.h"
#include "format/visible.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

static char *visible_or_exit(const char *text, size_t len, int flags)
{
	char *shown = visible(text, len, flags);

	if (!shown)
		err(EX_OSERR, NULL);
	return shown;
}

/* musl takes every locale but C for one of UTF-8. */
static void take_locale(void)
{
#ifdef __GLIBC__
	setlocale(LC_CTYPE, "");
#else
	static const char *const variable[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	const char *name = NULL;

	for (size_t i = 0; i < sizeof variable / sizeof *variable && (!name || !*name); i++)
		name = getenv(variable[i]);
	if (name && (strcasestr(name, ".UTF-8") || strcasestr(name, ".utf8")))
		setlocale(LC_CTYPE, "C.UTF-8");
#endif
}

char *cli_terminal_text(const char *text, size_t len)
{
	return visible_or_exit(text, len, VIS_NOSLASH);
}

static char *const *arguments;

void cli_begin(char *const *argv)
{
	arguments = argv;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			err(EX_OSERR, "/dev/null");
	take_locale(); /* what is printable, for cli_visible() */
}

/* What getopt_long(3) returned for no option of ours. It says nothing itself: it would say it to a terminal raw. */
static _Noreturn void bad_option(int answer)
{
	const char *word = arguments[optind - 1];
	bool is_long =
	    word && strncmp(word, "--", 2) == 0; /* musl counts a missing value as a word */

	if (optopt == 0)
		cli_usage("%s: there is no such option, or several begin so", word);
	if (answer == ':' && is_long)
		cli_usage("%s: a value is wanted", word);
	if (answer == ':')
		cli_usage("-%c: a value is wanted", optopt);
	if (is_long && strchr(word, '='))
		cli_usage("%s: no value is wanted", word);
	cli_usage("-%c: there is no such option", optopt);
}

void cli_option(struct cli *cli, int option, const char *help)
{
	switch (option) {
	case 's':
		cli->spool = optarg;
		break;
	case 'q':
		if (!queue_name_ok(optarg))
			cli_usage("queue %s: a name is 1 to 64 letters, digits or ._- and does "
			          "not start with a dot",
			    optarg);
		cli->queue = optarg;
		break;
	case 'v':
		cli->verbose = true;
		break;
	case 'h':
		fputs(help, stdout);
		cli_finish_output();
		exit(EX_OK);
	case 'V':
		printf("%s (qspool) %s\n", program_invocation_short_name, PACKAGE_VERSION);
		cli_finish_output();
		exit(EX_OK);
	default:
		bad_option(option);
	}
}

void cli_usage(const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		err(EX_OSERR, NULL);
	va_end(args);
	errx(EX_USAGE, "%s (try %s --help)", text, program_invocation_short_name);
}

int64_t cli_now_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

long long cli_number(const char *option, const char *text, long long min, long long max)
{
	const char *why;
	long long value = strtonum(text, min, max, &why);

	if (why)
		cli_usage("%s %s: a number from %lld to %lld is wanted", option, text, min, max);
	return value;
}

int64_t cli_duration(const char *option, const char *text)
{
	int64_t ms;

	if (duration_parse(text, &ms) != 0)
		cli_usage("%s %s: a duration such as 90s, 10m or 1h30m is wanted", option, text);
	return ms;
}

int64_t cli_size(const char *option, const char *text, int64_t min)
{
	char least[SIZE_TEXT];
	int64_t bytes;

	size_format(min, least);
	if (size_parse(text, &bytes) != 0 || bytes < min)
		cli_usage(
		    "%s %s: a size such as 512M or 2G is wanted, %s at least", option, text, least);
	return bytes;
}

double cli_decimal(const char *option, const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);

	/* No exponents, and nothing that is no number. */
	if (*end || strspn(text, "0123456789.") != strlen(text) || value <= 0 || value > max)
		cli_usage(
		    "%s %s: a number of more than 0 and at most %g is wanted", option, text, max);
	return value;
}

static struct backoff backoff_value(const char *text)
{
	struct backoff backoff;

	if (backoff_parse(text, &backoff) != 0)
		cli_usage("--backoff %s: BASE..CAP is wanted, such as 5s..1h", text);
	return backoff;
}

bool cli_policy(struct meta *meta, int option)
{
	switch (option) {
	case 'A':
		meta->attempts = (unsigned)cli_number("--attempts", optarg, 1, JOB_ATTEMPTS_MAX);
		return meta->has_attempts = true;
	case 'b':
		meta->backoff = backoff_value(optarg);
		return meta->has_backoff = true;
	case 't':
		meta->timeout_ms = cli_duration("--timeout", optarg);
		if (meta->timeout_ms == 0)
			cli_usage("--timeout %s: longer than nothing is wanted", optarg);
		return meta->has_timeout = true;
	case CLI_MEMORY:
		meta->memory = cli_size("--memory", optarg, MEMORY_MIN);
		return meta->has_memory = true;
	case CLI_CPU:
		meta->cpu_ms = cli_duration("--cpu", optarg);
		if (meta->cpu_ms == 0)
			cli_usage("--cpu %s: more than nothing is wanted", optarg);
		return meta->has_cpu = true;
	case CLI_NICE:
		meta->nice = (unsigned)cli_number("--nice", optarg, 0, NICE_MAX);
		return meta->has_nice = true;
	default:
		return false;
	}
}

int cli_status(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return EX_NOINPUT;
	case EACCES:
	case EPERM:
	case EROFS:
		return EX_NOPERM;
	case EIO:
	case EINTR:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EPIPE:
		return EX_IOERR;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case EAGAIN:
		return EX_OSERR;
	case EBUSY:
	case ETIME:
	case ETIMEDOUT:
	case ESTALE:
		return EX_TEMPFAIL;
	case EXDEV:
		return EX_CONFIG;
	case E2BIG:
	case EBADMSG:
	case EINVAL:
	case EISDIR:
		return EX_DATAERR;
	default:
		return EX_SOFTWARE;
	}
}

int cli_complain(const struct spool *spool, const char *what)
{
	int error = errno;
	char *place = cli_visible(spool_place(spool));

	if (what)
		warnx("%s: %s/%s: %s", what, spool_path(spool), place, strerror(error));
	else
		warnx("%s/%s: %s", spool_path(spool), place, strerror(error));
	free(place);
	return cli_status(error);
}

/* Two spools with work in them are a trap: one of them is not looked after. */
static char *default_path(void)
{
	bool both;
	char *path = spool_default_path(&both);

	if (!path)
		errx(EX_CONFIG, "no spool is named, and HOME is not set: use -s or $QSPOOL");
	if (both)
		warnx("using %s, but your own spool under your state directory holds queues too; "
		      "choose with -s or $QSPOOL",
		    path);
	return path;
}

void cli_variables(const char *option, char *text, struct strings *list)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
	char *name;

	while ((name = strsep(&text, ",")) != NULL) {
		size_t len = strspn(name, letters);

		if (!*name || (name[len] && strcmp(name + len, "*") != 0))
			cli_usage("%s %s: names of variables are wanted, or with a '*' at the end",
			    option, name);
		if (strings_add(list, name) != 0)
			err(EX_OSERR, NULL);
	}
}

struct spool *cli_open(const struct cli *cli, bool create, bool missing_ok)
{
	char *path = cli->spool ? strdup(cli->spool) : default_path();
	struct spool *spool = path ? spool_open(path, create) : NULL;

	if (!spool && !(missing_ok && errno == ENOENT)) {
		int status = cli_status(errno);

		err(status == EX_SOFTWARE ? EX_CANTCREAT : status, "spool %s", path);
	}
	free(path);
	return spool;
}

void cli_finish_output(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		err(EX_IOERR, "standard output");
}

static void add_word(struct strings *words, const char *word)
{
	if (strings_add(words, word) != 0)
		err(EX_OSERR, NULL);
}

void cli_words(int count, char *const *argv, struct strings *words)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	for (int i = 0; i < count; i++)
		if (strcmp(argv[i], "-") != 0)
			add_word(words, argv[i]);
	if (count > 0 && words->count == (size_t)count)
		return;
	if (count == 0 && isatty(STDIN_FILENO))
		cli_usage("no job is named");
	while ((len = getline(&line, &room, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		if (len > 0)
			add_word(words, line);
	}
	if (ferror(stdin))
		err(EX_IOERR, "standard input");
	free(line);
}

int cli_first_failure(int status, int next)
{
	return status != EX_OK ? status : next;
}

struct job_word *cli_find(
    const struct cli *cli, struct spool *spool, const struct strings *words, int *status)
{
	struct job_word *word = calloc(words->count + 1, sizeof *word);

	if (!word)
		err(EX_OSERR, NULL);
	for (size_t i = 0; i < words->count; i++)
		word[i].text = words->item[i];
	*status = spool_find(spool, cli->queue, word, words->count) == 0
	    ? EX_OK
	    : cli_complain(spool, NULL);
	return word;
}

int cli_found(const struct spool *spool, const struct job_word *word)
{
	char *text;

	if (word->matches == 1)
		return EX_OK;
	text = cli_visible(word->text);
	if (word->matches == 0 && strlen(word->text) < SPOOL_PREFIX_MIN)
		warnx("no job %s in %s: of an id %d characters are wanted at least", text,
		    spool_path(spool), SPOOL_PREFIX_MIN);
	else if (word->matches == 0)
		warnx("no job %s in %s", text, spool_path(spool));
	else
		warnx("%s is ambiguous: it begins the ids of %u jobs", text, word->matches);
	free(text);
	return word->matches == 0 ? EX_NOINPUT : EX_DATAERR;
}

char *cli_visible(const char *text)
{
	return visible_or_exit(text, strlen(text), VIS_CSTYLE | VIS_NL | VIS_TAB);
}

/* Length of the UTF-8 sequence at TEXT, 0 if it is none. RFC 3629. */
static size_t utf8_length(const unsigned char *text)
{
	size_t len = text[0] < 0x80             ? 1
	    : text[0] >= 0xc2 && text[0] < 0xe0 ? 2
	    : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
	    : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
	                                        : 0;

	for (size_t i = 1; i < len; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] >= 0xa0) ||
	    (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] >= 0x90))
		return 0;
	return len;
}

void cli_json_string(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', out);
	while (*p) {
		size_t len = utf8_length(p);

		if (len == 0)
			fputs("\\ufffd", out);
		else if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\u%04x", *p);
		else if (p[0] == 0xc2 && p[1] < 0xa0) /* C1: terminals obey these, too */
			fprintf(out, "\\u%04x", p[1]);
		else
			fwrite(p, 1, len, out);
		p += len ? len : 1;
	}
	fputc('"', out);
}

void cli_json_member(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	if (value)
		cli_json_string(stdout, value);
	else
		printf("null");
}
