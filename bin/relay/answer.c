#include "answer.h"

#include <jansson.h>

/* Which libnats 3.4 has no name for. */
enum { HEADER_EXCEEDS_MAXIMUM = 10097 };

static enum answer judge(const json_t *said, char why[static ANSWER_WHY_SIZE])
{
	const json_t *error = json_object_get(said, "error");
	const char *text = json_string_value(json_object_get(error, "description"));
	json_int_t code = json_integer_value(json_object_get(error, "err_code"));

	/* 0 is that of a duplicate of what the quorum has not got yet. */
	if (!error && json_integer_value(json_object_get(said, "seq")) > 0)
		return ANSWER_TAKEN;
	snprintf(why, ANSWER_WHY_SIZE, "the stream says: %s",
	    text ? text : "nothing that is understood");
	return code == JSStreamMessageExceedsMaximumErr || code == HEADER_EXCEEDS_MAXIMUM
	    ? ANSWER_NEVER
	    : ANSWER_NOT_NOW;
}

enum answer answer_of(natsMsg *msg, char why[static ANSWER_WHY_SIZE])
{
	enum answer answer;
	json_t *said;

	if (natsMsg_IsNoResponders(msg)) {
		snprintf(why, ANSWER_WHY_SIZE, "there is no such stream");
		return ANSWER_NOBODY;
	}
	said = json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), 0, NULL);
	answer = judge(said, why);
	json_decref(said);
	return answer;
}
