#include "access.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/clock.h"

/* libnats reads these when it connects, again and again: that they cannot be read is to be told at once. */
static void must_be_readable(const char *option, const char *file)
{
	if (file && access(file, R_OK) != 0)
		err(cli_status(errno), "%s %s", option, file);
}

/* What they begin with, encoded as they are. */
#define JWT_BEGIN "eyJ"
#define SEED_BEGIN "SU"

/* The first line of FILE that begins so, malloc'd; or NULL. */
static char *find_line(const char *file, const char *begin)
{
	FILE *from = fopen(file, "re");
	char *line = NULL, *found = NULL;
	size_t size = 0;

	while (from && !found && getline(&line, &size, from) >= 0) {
		const char *text = line + strspn(line, " \t");

		if (strncmp(text, begin, strlen(begin)) == 0)
			found = strndup(text, strcspn(text, "\r\n"));
	}
	if (line)
		explicit_bzero(line, size);
	free(line);
	if (from)
		fclose(from);
	return found;
}

/* Base 64 in the alphabet of URLs; TO has room for LEN. */
static size_t decode(const char *text, size_t len, char *to)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t size = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < len; i++) {
		const char *digit = memchr(digits, text[i], sizeof digits - 1);

		if (!digit)
			return 0;
		bits = bits << 6 | (unsigned)(digit - digits);
		if (i % 4 > 0)
			to[size++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	return size;
}

/* Whether the JWT of FILE is over, and WHEN that was. Servers say so only to those who are connected just then. */
bool access_expired(const char *file, char when[static WHEN_SIZE])
{
	char *jwt = file ? find_line(file, JWT_BEGIN) : NULL;
	char *text = jwt ? strchr(jwt, '.') : NULL, *claims;
	size_t len = text ? strcspn(++text, ".") : 0;
	json_int_t over = 0;
	json_t *said;

	claims = calloc(len + 1, 1);
	said = claims ? json_loadb(claims, decode(text ? text : "", len, claims), 0, NULL) : NULL;
	over = json_integer_value(json_object_get(said, "exp"));
	json_decref(said);
	free(claims);
	free(jwt);
	if (over <= 0 || over > clock_real_ms() / 1000)
		return false;
	when_rfc3339(over * 1000, when);
	return true;
}

static void must_have(const char *option, const char *file, const char *begin, const char *what)
{
	char *line;

	if (!file)
		return;
	line = find_line(file, begin);
	if (!line)
		errx(EX_CONFIG, "%s %s: there is no %s of a user in it", option, file, what);
	explicit_bzero(line, strlen(line));
	free(line);
}

static void set_secrets(natsOptions *to, const struct wire_options *options)
{
	must_be_readable("--creds", options->creds);
	must_be_readable("--nkey-seed", options->seed);
	must_have("--creds", options->creds, JWT_BEGIN, "JWT");
	must_have("--creds", options->creds, SEED_BEGIN, "seed");
	must_have("--nkey-seed", options->seed, SEED_BEGIN, "seed");
	if (!options->nkey != !options->seed)
		cli_usage("--nkey and --nkey-seed: one is nothing without the other");
	if (options->creds && options->nkey)
		cli_usage("--creds and --nkey: one of them is enough");
	if (options->creds)
		wire_must(natsOptions_SetUserCredentialsFromFiles(to, options->creds, NULL),
		    EX_CONFIG, options->creds);
	if (options->nkey)
		wire_must(natsOptions_SetNKeyFromSeed(to, options->nkey, options->seed), EX_CONFIG,
		    options->seed);
}

static void set_tls(natsOptions *to, const struct wire_options *options)
{
	must_be_readable("--tls-ca", options->ca);
	must_be_readable("--tls-cert", options->cert);
	must_be_readable("--tls-key", options->key);
	if (!options->cert != !options->key)
		cli_usage("--tls-cert and --tls-key: one is nothing without the other");
	if (options->ca)
		wire_must(
		    natsOptions_LoadCATrustedCertificates(to, options->ca), EX_CONFIG, options->ca);
	if (options->cert)
		wire_must(natsOptions_LoadCertificatesChain(to, options->cert, options->key),
		    EX_CONFIG, options->cert);
	if (options->ca || options->cert)
		wire_must(natsOptions_SetSecure(to, true), EX_CONFIG, "TLS");
}

void access_set(natsOptions *to, const struct wire_options *options)
{
	set_secrets(to, options);
	set_tls(to, options);
}
