/* Acme: numeric ids, movies and episodes. Change what an id is and which URL plays it; provider.toml says the rest. */
#include "streamit_provider.h"

#include <stdio.h>
#include <string.h>

/* Data: read by the host before any of this code runs. The header exports these names; all others stay hidden. */
const uint8_t streamit_manifest[] = {
#include "provider.toml.inc"
};
const uint8_t streamit_bridge[] = {
#include "bridge.js.inc"
};
const StreamitAbiInfo streamit_abi_info = {
    .magic = STREAMIT_MAGIC,
    .size = sizeof(StreamitAbiInfo),
    .abi_major = STREAMIT_ABI_MAJOR,
    .abi_minor = STREAMIT_ABI_MINOR,
    .flags = STREAMIT_FLAG_CATCHES_PANICS, /* C has none to catch; in C++, let no exception leave a function */
    .manifest_len = sizeof streamit_manifest,
    .bridge_len = sizeof streamit_bridge,
    .id = "acme",
    .version = "0.1.0",
    .toolchain = "C", /* whatever tells you later how it was built; shown, never compared */
};

static StreamitStr str(const char *text) {
  StreamitStr s = {(const uint8_t *)text, strlen(text)};
  return s;
}

static void report(const StreamitProblems *problems, uint32_t kind, const char *field, const char *text) {
  if (problems && problems->problem) problems->problem(problems->ctx, kind, str(field), str(text));
}

/* The configuration is a JSON object. This provider has none, so any key in it is a mistake of the operator's. */
static int32_t create(const StreamitHost *host, StreamitStr config_json, const StreamitProblems *problems,
                      void **instance) {
  const char *blanks = " \t\r\n";
  char key[64];
  size_t from = 0, to = config_json.len, n = 0;
  (void)host;
  while (from < to && strchr(blanks, config_json.ptr[from])) from++;
  while (to > from && strchr(blanks, config_json.ptr[to - 1])) to--;
  if (from == to) { *instance = NULL; return STREAMIT_STATUS_OK; }
  if (to - from < 2 || config_json.ptr[from] != '{' || config_json.ptr[to - 1] != '}') {
    report(problems, STREAMIT_PROBLEM_CONFIG, "", "expected a JSON object");
    return STREAMIT_STATUS_BAD_CONFIG;
  }
  for (from++, to--; from < to && strchr(blanks, config_json.ptr[from]); from++) {}
  if (from == to) { *instance = NULL; return STREAMIT_STATUS_OK; }
  if (config_json.ptr[from] == '"')
    for (from++; from < to && config_json.ptr[from] != '"' && n < sizeof key - 1; from++)
      key[n++] = (char)config_json.ptr[from];
  key[n] = 0;
  report(problems, STREAMIT_PROBLEM_CONFIG, key, "unknown key; this provider has no configuration");
  return STREAMIT_STATUS_BAD_CONFIG;
}

/* Pure: the same identity gives the same URL, and an identity without one is refused field by field. */
static int32_t embed_url(const void *instance, const StreamitMedia *media, const StreamitSink *out,
                         const StreamitProblems *problems) {
  char url[128];
  int len = 0, is_rejected = 0;
  size_t i;
  const uint32_t known = STREAMIT_PRESENT_SEASON | STREAMIT_PRESENT_EPISODE;
  (void)instance;
  /* A field is there only if it lies inside `size`; a later version appends more, which does not concern us. */
  if (media->size < sizeof *media) return STREAMIT_STATUS_INTERNAL;
  if ((media->media_type != STREAMIT_MEDIA_MOVIE && media->media_type != STREAMIT_MEDIA_TV) ||
      (media->present & ~known)) {
    report(problems, STREAMIT_PROBLEM_UNSUPPORTED, "media_type", "expected a movie or an episode");
    return STREAMIT_STATUS_REJECTED;
  }
  is_rejected = media->external_id.len < 1 || media->external_id.len > 10;
  for (i = 0; !is_rejected && i < media->external_id.len; i++)
    is_rejected = media->external_id.ptr[i] < '0' || media->external_id.ptr[i] > '9';
  if (is_rejected)
    report(problems, STREAMIT_PROBLEM_FORMAT, "external_id", "expected 1 to 10 digits, like 4711");
  for (i = 0; i < 2; i++) {
    const uint32_t bit = i ? STREAMIT_PRESENT_EPISODE : STREAMIT_PRESENT_SEASON;
    const char *field = i ? "episode" : "season";
    const int is_there = (media->present & bit) != 0;
    if (media->media_type == STREAMIT_MEDIA_TV && !is_there) {
      report(problems, STREAMIT_PROBLEM_MISSING, field, "an episode of a series needs one");
      is_rejected = 1;
    }
    if (media->media_type == STREAMIT_MEDIA_MOVIE && is_there) {
      report(problems, STREAMIT_PROBLEM_UNSUPPORTED, field, "a movie has none");
      is_rejected = 1;
    }
  }
  if (is_rejected) return STREAMIT_STATUS_REJECTED;
  if (media->media_type == STREAMIT_MEDIA_MOVIE)
    len = snprintf(url, sizeof url, "https://play.acme.example/movie/%.*s", (int)media->external_id.len,
                   (const char *)media->external_id.ptr);
  else
    len = snprintf(url, sizeof url, "https://play.acme.example/tv/%.*s/%lu/%lu", (int)media->external_id.len,
                   (const char *)media->external_id.ptr, (unsigned long)media->season,
                   (unsigned long)media->episode);
  if (len < 0 || (size_t)len >= sizeof url) return STREAMIT_STATUS_INTERNAL;
  return out->write(out->ctx, (const uint8_t *)url, (size_t)len) ? STREAMIT_STATUS_INTERNAL : STREAMIT_STATUS_OK;
}

const StreamitProviderV1 streamit_provider_v1 = {
    .size = sizeof(StreamitProviderV1),
    .create = create,
    .destroy = NULL, /* create allocates nothing */
    .embed_url = embed_url,
    .extension = NULL,
};
