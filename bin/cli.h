/*
 * What the tools share: the options that mean the same everywhere, error messages
 * with sysexits(3) statuses, and output that a terminal can bear.
 *
 * The tools end by exit; functions here that are said to exit print one line to
 * stderr first. A status is always one of sysexits.h, or 0.
 */
#ifndef QSPOOL_BIN_CLI_H
#define QSPOOL_BIN_CLI_H

#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

#include "qspool.h"

struct cli {
	const char *spool; /* -s, NULL if not given */
	const char *queue; /* -q, NULL if not given */
	bool verbose;      /* -v */
};

#define CLI_SHORT "s:q:" CLI_SHORT_BARE
#define CLI_LONG                                                                                   \
	{"spool", required_argument, NULL, 's'}, {"queue", required_argument, NULL, 'q'},          \
	    CLI_LONG_BARE
/* Of a tool that opens no spool. */
#define CLI_SHORT_BARE "vhV"
#define CLI_LONG_BARE                                                                              \
	{"verbose", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'},                     \
	    {"version", no_argument, NULL, 'V'},                                                   \
	{                                                                                          \
		NULL, 0, NULL, 0                                                                   \
	}

/* Takes the locale, and opens /dev/null for standard descriptors that are closed, or the first file of the
 * spool would become one of them. First thing in main, with its ARGV. */
void cli_begin(char *const *argv);
/* Takes a common option; prints HELP or the version and exits; exits EX_USAGE for
 * anything that is no option. The short options begin with ':' (behind '+', if there is that): getopt_long(3) leaves it to this to complain. */
void cli_option(struct cli *cli, int option, const char *help);
/* "qsend: ... (try qsend --help)", EX_USAGE. */
_Noreturn void cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ms since the epoch. */
int64_t cli_now_ms(void);

/* Values of options; exit with EX_USAGE if they are wrong. */
long long cli_number(const char *option, const char *text, long long min, long long max);
int64_t cli_duration(const char *option, const char *text);
/* Bytes, at least MIN. */
int64_t cli_size(const char *option, const char *text, int64_t min);
/* More than 0 and at most MAX, with decimals or without. */
double cli_decimal(const char *option, const char *text, double max);
/* What a job may have of its own, and a queue for all its jobs: into META; false if OPTION is another one. */
enum { CLI_MEMORY = 512, CLI_CPU, CLI_NICE };
#define CLI_POLICY_LONG                                                                            \
	{"attempts", required_argument, NULL, 'A'}, {"backoff", required_argument, NULL, 'b'},     \
	    {"timeout", required_argument, NULL, 't'},                                             \
	    {"memory", required_argument, NULL, CLI_MEMORY},                                       \
	    {"cpu", required_argument, NULL, CLI_CPU},                                             \
	{                                                                                          \
		"nice", required_argument, NULL, CLI_NICE                                          \
	}
bool cli_policy(struct meta *meta, int option);

/* Names of variables with commas between, the last character of each maybe '*': added to LIST. TEXT is taken apart. */
void cli_variables(const char *option, char *text, struct strings *list);

/* The spool that was named or the default one; exits if it cannot be opened. With
 * MISSING_OK returns NULL if there is none. */
struct spool *cli_open(const struct cli *cli, bool create, bool missing_ok);
/* The sysexits status of an errno. */
int cli_status(int error);
/* Prints "TOOL: PLACE: why" for the last error on SPOOL; returns its status. */
int cli_complain(const struct spool *spool, const char *what);
/* Flushes stdout; exits if what was printed could not be written. */
void cli_finish_output(void);

/* The words on the command line, or if there are none (or "-") one a line from stdin. */
void cli_words(int count, char *const *argv, struct strings *words);

/* spool_find() of WORDS, malloc'd. *STATUS is EX_OK, or what the complaint about its error makes it. */
struct job_word *cli_find(
    const struct cli *cli, struct spool *spool, const struct strings *words, int *status);
/* Of tools that take many: what went wrong first, if anything. */
int cli_first_failure(int status, int next);
/* EX_OK if WORD means one job; else complains and returns a status. */
int cli_found(const struct spool *spool, const struct job_word *word);

/* TEXT with control bytes made visible (vis(3)), malloc'd. */
char *cli_visible(const char *text);
/* The same of text of several lines, as `cat -v` shows it: newlines, tabs and backslashes stay. */
char *cli_terminal_text(const char *text, size_t len);
/* A JSON string with its quotes, control characters escaped; bytes that are not UTF-8 become
 * U+FFFD. */
void cli_json_string(FILE *out, const char *text);
/* ,"KEY":"VALUE" on stdout, or null without a VALUE. */
void cli_json_member(const char *key, const char *value);

#endif
