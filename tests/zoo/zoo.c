/* A provider that misbehaves in the one way its -D flags name; without any it behaves well. Built by src/lib.rs. */
#include "streamit_provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MANIFEST_ID
#define MANIFEST_ID ID
#endif
#ifndef URL
#define URL "https://zoo.example/fine"
#endif
#ifndef MEDIA_URL
#define MEDIA_URL URL
#endif

#ifndef NO_MANIFEST
const uint8_t streamit_manifest[] =
#ifdef MANIFEST_TEXT
    MANIFEST_TEXT;
#else
    "schema = 1\nid = \"" MANIFEST_ID "\"\nname = \"Zoo\"\nmedia_types = [\"movie\"]\n"
    "supports_events = false\nsupports_progress = false\n"
    "capabilities = { seek = false, pause = false, resume = false, autoplay = false }\n"
    "external_id = { label = \"Id\", pattern = \"^.+$\", example = \"fine\" }\n"
    "examples = [{ media = { media_type = \"movie\", external_id = \"fine\" }, url = \"" MEDIA_URL "\" }]\n"
    "[player]\ncontrol = \"none\"\nembed_origins = [\"https://zoo.example\"]\ndrift_ms = 1000\ncooldown_ms = 1000\n";
#endif
#endif
#ifndef BRIDGE_TEXT
#define BRIDGE_TEXT "export default function mount() {}\n"
#endif
#ifndef NO_BRIDGE
const uint8_t streamit_bridge[] = BRIDGE_TEXT;
#endif

#ifndef ABI_MAJOR
#define ABI_MAJOR STREAMIT_ABI_MAJOR
#endif
#ifndef ABI_MINOR
#define ABI_MINOR STREAMIT_ABI_MINOR
#endif
#ifndef MAGIC
#define MAGIC STREAMIT_MAGIC
#endif
#ifndef INFO_SIZE
#define INFO_SIZE sizeof(StreamitAbiInfo)
#endif
#ifndef FLAGS
#define FLAGS STREAMIT_FLAG_CATCHES_PANICS
#endif
#ifndef MANIFEST_LEN
#define MANIFEST_LEN (sizeof streamit_manifest - 1)
#endif
#ifdef NO_BRIDGE
#define BRIDGE_LEN 10
#else
#define BRIDGE_LEN (sizeof streamit_bridge - 1)
#endif
#ifndef NO_INFO
const StreamitAbiInfo streamit_abi_info = {.magic = MAGIC,
                                           .size = INFO_SIZE,
                                           .abi_major = ABI_MAJOR,
                                           .abi_minor = ABI_MINOR,
                                           .flags = FLAGS,
                                           .manifest_len = MANIFEST_LEN,
                                           .bridge_len = BRIDGE_LEN,
                                           .id = ID,
                                           .version = "0.1.0",
                                           .toolchain = "C"};
#endif

/* Assets: what their table says, and how many bytes there are. */
STREAMIT_ASSET(0);
STREAMIT_ASSET(1);
STREAMIT_ASSET(2);
STREAMIT_ASSET(3);
STREAMIT_ASSET(4);
#ifdef ASSET_TEXT
const uint8_t streamit_asset_0[] = ASSET_TEXT;
const StreamitAsset streamit_assets[] = {{"player.js", sizeof streamit_asset_0 - 1, 0}, {"", 0, 0}};
#endif
#ifdef ASSETS
const StreamitAsset streamit_assets[] = {ASSETS};
#endif
#ifdef ASSET_BYTES
const uint8_t streamit_asset_0[ASSET_BYTES] = {'/', '/'};
#endif
#ifdef FIVE_ASSETS
const uint8_t streamit_asset_0[FIVE_ASSETS] = {1}, streamit_asset_1[FIVE_ASSETS] = {1};
const uint8_t streamit_asset_2[FIVE_ASSETS] = {1}, streamit_asset_3[FIVE_ASSETS] = {1};
const uint8_t streamit_asset_4[FIVE_ASSETS] = {1};
#endif
#ifdef ASSET_CLAIMS
/* One byte, of which the library's own table of symbols says that it is more. */
__asm__(".section .rodata\n.globl streamit_asset_0\n.type streamit_asset_0, @object\n.size streamit_asset_0, " ASSET_CLAIMS
        "\nstreamit_asset_0: .byte 1\n.previous");
#endif

static void overflow(volatile char *above) {
  volatile char frame[65536];
  frame[0] = above ? above[0] : 0;
  overflow(frame);
  frame[1] = frame[0];
}

static void segv(void) { *(volatile int *)0 = 1; }

static void loop(void) {
  for (;;) sleep(3600);
}

/* Text in the shape of an answer. */
static void answer(int first, int last) {
  for (; first <= last; first++)
    if (write(first, "0123456789abcdef\x18\0\0\0{\"Prepared\":{\"Ok\":null}}", 44) < 0) continue;
}

static void print(void) { answer(1, 2); }

/* On every descriptor there might be. */
static void lie(void) { answer(1, 16); }

static void nothing(void) {}

/* More memory than any plugin has a use for. */
static void hoard(void) {
  if (!malloc((size_t)6 << 30)) abort();
}

/* A file larger than any plugin should write. */
static void scribble(void) {
  static char block[1 << 20];
  FILE *file = tmpfile();
  int i;
  for (i = 0; i < 8; i++) fwrite(block, 1, sizeof block, file);
  fclose(file);
}

/* What the operator's machine has and a plugin's child does not: an environment. */
static void abort_in_host(void) {
  if (getenv("PATH")) abort();
}
static void loop_in_host(void) {
  if (getenv("PATH")) loop();
}
/* Busy until there is such a file. */
#ifndef GATE
#define GATE "/"
#endif
static void wait_at_gate(void) {
  while (access(GATE, F_OK)) usleep(10000);
}
static void wait_in_host(void) {
  if (getenv("PATH")) usleep(800000);
}

#ifndef CONSTRUCTOR
#define CONSTRUCTOR nothing()
#endif
__attribute__((constructor)) static void constructed(void) { CONSTRUCTOR; }

#ifdef UNDEFINED
extern void nowhere(void);
#endif

#ifndef CREATE
#define CREATE (void)0
#endif
static const StreamitHost *the_host;
static int instances;

static int32_t create(const StreamitHost *host, StreamitStr config, const StreamitProblems *problems, void **instance) {
  (void)config, (void)problems;
  the_host = host;
  instances++;
  *instance = NULL;
#ifdef UNDEFINED
  if (config.len == 4711) nowhere();
#endif
  CREATE;
  return STREAMIT_STATUS_OK;
}

static int32_t say(const StreamitSink *out, const char *text) {
  out->write(out->ctx, (const uint8_t *)text, strlen(text));
  return STREAMIT_STATUS_OK;
}

static int32_t embed_url(const void *instance, const StreamitMedia *media, const StreamitSink *out,
                         const StreamitProblems *problems) {
  static int calls;
  static char big[1 << 20];
  char id[32] = "", url[64];
  int i;
  (void)instance, (void)problems;
  if (media->external_id.len < sizeof id) memcpy(id, media->external_id.ptr, media->external_id.len);
  /* A number makes another of the same kind. */
  if (strchr(id, ' ')) *strchr(id, ' ') = 0;
  if (!strcmp(id, "abort")) abort();
  if (!strcmp(id, "segv")) segv();
  if (!strcmp(id, "exit")) exit(0);
  if (!strcmp(id, "overflow")) overflow(NULL);
  if (!strcmp(id, "loop")) {
    StreamitStr text = {(const uint8_t *)"looping", 7};
    if (the_host->log) the_host->log(the_host->ctx, STREAMIT_LOG_INFO, text);
    loop();
  }
  if (!strcmp(id, "utf8")) return say(out, "https://zoo.example/\xff\xfe");
  if (!strcmp(id, "gib")) {
    memset(big, 'x', sizeof big);
    for (i = 0; i < 1024; i++) out->write(out->ctx, (const uint8_t *)big, sizeof big);
    return STREAMIT_STATUS_OK;
  }
  if (!strcmp(id, "null")) return out->write(out->ctx, NULL, 7), STREAMIT_STATUS_OK;
  if (!strcmp(id, "huge")) return out->write(out->ctx, (const uint8_t *)"x", (size_t)1 << 60), STREAMIT_STATUS_OK;
  if (!strcmp(id, "status")) return 4711;
  if (!strcmp(id, "internal")) return STREAMIT_STATUS_INTERNAL;
  if (!strcmp(id, "silent")) return STREAMIT_STATUS_OK;
  if (!strcmp(id, "http")) return say(out, "http://zoo.example/");
  if (!strcmp(id, "script")) return say(out, "javascript:alert(1)");
  if (!strcmp(id, "foreign")) return say(out, "https://elsewhere.example/");
  if (!strcmp(id, "user")) return say(out, "https://user@zoo.example/");
  if (!strcmp(id, "control")) return say(out, "https://zoo.example/\n");
  if (!strcmp(id, "lie")) { lie(); return say(out, "https://zoo.example/print"); }
  if (!strcmp(id, "reject")) return STREAMIT_STATUS_REJECTED;
  if (!strcmp(id, "other")) {
    snprintf(url, sizeof url, "https://zoo.example/%d", calls++);
    return say(out, url);
  }
#ifdef LATE
  {
    static const StreamitSink *kept;
    if (kept) kept->write(kept->ctx, (const uint8_t *)"x", 1);
    kept = out;
  }
#endif
#ifdef SHARED
  if (instances > 1) return say(out, "https://zoo.example/other");
#endif
#ifdef FLICKER
  if (calls++) return say(out, "https://zoo.example/again");
#endif
  return say(out, URL);
}

#ifndef DESTROY
#define DESTROY (void)0
#endif
static void destroy(void *instance) {
  (void)instance;
  DESTROY;
}

#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(StreamitProviderV1)
#endif
#ifndef CREATE_FN
#define CREATE_FN create
#endif
#ifndef EMBED_FN
#define EMBED_FN embed_url
#endif
#ifndef NO_TABLE
const StreamitProviderV1 streamit_provider_v1 = {
    .size = TABLE_SIZE, .create = CREATE_FN, .destroy = destroy, .embed_url = EMBED_FN};
#endif

/* Not every animal uses every part. */
void *const zoo_parts[] = {(void *)overflow, (void *)segv, (void *)loop, (void *)lie, (void *)print, (void *)abort_in_host, (void *)loop_in_host, (void *)wait_in_host, (void *)wait_at_gate, (void *)hoard, (void *)scribble,
                           (void *)create, (void *)embed_url};
