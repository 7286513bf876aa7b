#include "url.h"

#include <bsd/stdlib.h>
#include <string.h>

#include "../cli.h"

bool url_is_tls(const char *url)
{
	return strncmp(url, "tls://", 6) == 0;
}

/* Without who we are, and without what is no port: that may be a password whose host was forgotten. */
void url_show(const char *url, char shown[static URL_SIZE])
{
	const char *host = strstr(url, "://") ? strstr(url, "://") + 3 : url, *port;
	int scheme = (int)(host - url), len;

	host = strrchr(host, '@') ? strrchr(host, '@') + 1 : host;
	port = host + (host[0] == '[' ? strcspn(host, "]") : 0);
	port += strcspn(port, ":");
	len = (int)(port - host);
	if (*port && strspn(port + 1, "0123456789") == strlen(port + 1))
		len += (int)strlen(port);
	snprintf(shown, URL_SIZE, "%.*s%.*s", scheme, url, len, host);
}

/* What is wrong with HOST or HOST:PORT, or NULL; libnats would take the one for "localhost" or wait for the other for ever. */
static const char *check_host(const char *host)
{
	bool bracket = host[0] == '[';
	size_t len = bracket ? strcspn(host, "]") : strcspn(host, ":");
	const char *why = NULL;

	if (bracket && host[len] != ']')
		return "its bracket is not closed";
	len += bracket;
	if (len == 0)
		return "it has no host";
	if (strchr(host, '/'))
		return "a path is of no use";
	if (host[len] == '\0')
		return NULL;
	if (host[len] == ':')
		strtonum(host + len + 1, 1, 65535, &why);
	return host[len] != ':' || why ? "its port is none from 1 to 65535" : NULL;
}

const char *url_check(const char *url)
{
	const char *end = strstr(url, "://"), *host = end ? end + 3 : url;
	const char *user = strrchr(host, '@');

	if (url[strcspn(url, " \t\r\n\v\f")])
		return "it has blanks";
	if (end && strncmp(url, "nats://", 7) != 0 && !url_is_tls(url))
		return "it begins neither with nats:// nor with tls://";
	return check_host(user ? user + 1 : host);
}
