/* Sends everyone what the host says, and a newcomer the newest of it. The library comes without a header that can be
 * included, so what is used of it is declared here. */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct uws_app_s uws_app_t;
typedef struct uws_websocket_s uws_websocket_t;
typedef enum { TEXT = 1 } uws_opcode_t;

struct us_socket_context_options_t {
    const char *key_file_name, *cert_file_name, *passphrase, *dh_params_file_name, *ca_file_name, *ssl_ciphers;
    int ssl_prefer_low_memory_usage;
};

typedef struct {
    int port;
    const char *host;
    int options;
} uws_app_listen_config_t;

typedef struct {
    int compression;
    unsigned int max_payload_length;
    unsigned short idle_timeout;
    unsigned int max_backpressure;
    bool close_on_backpressure_limit, reset_idle_timeout_on_send, send_pings_automatically;
    unsigned short max_lifetime;
    void (*upgrade)(void *, void *, void *, void *);
    void (*open)(uws_websocket_t *, void *);
    void (*message)(uws_websocket_t *, const char *, size_t, uws_opcode_t, void *);
    void (*others[5])(void);
} uws_socket_behavior_t;

uws_app_t *uws_create_app(int ssl, struct us_socket_context_options_t options);
void uws_ws(int ssl, uws_app_t *, const char *pattern, uws_socket_behavior_t, void *);
void uws_app_listen_with_config(int ssl, uws_app_t *, uws_app_listen_config_t,
                                void (*)(void *, uws_app_listen_config_t, void *), void *);
void uws_app_run(int ssl, uws_app_t *);
int uws_ws_send(int ssl, uws_websocket_t *, const char *, size_t, uws_opcode_t);
bool uws_ws_subscribe(int ssl, uws_websocket_t *, const char *topic, size_t);
bool uws_publish(int ssl, uws_app_t *, const char *topic, size_t, const char *, size_t, uws_opcode_t, bool compress);

static uws_app_t *app;
static char newest[4096];
static size_t length;

static void keep(const char *message, size_t size) {
    length = size < sizeof newest ? size : sizeof newest;
    memcpy(newest, message, length);
}

static void opened(uws_websocket_t *socket, void *unused) {
    (void)unused;
    uws_ws_subscribe(0, socket, "room", 4);
}

static void heard(uws_websocket_t *socket, const char *message, size_t size, uws_opcode_t opcode, void *unused) {
    (void)opcode, (void)unused;
    if (size == 5 && memcmp(message, "hello", 5) == 0) {
        uws_ws_send(0, socket, newest, length, TEXT);
        return;
    }
    keep(message, size);
    uws_publish(0, app, "room", 4, newest, length, TEXT, false);
}

static void listens(void *socket, uws_app_listen_config_t config, void *unused) {
    (void)config, (void)unused;
    if (socket == NULL) exit(1);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    keep(arguments[2], strlen(arguments[2]));
    app = uws_create_app(0, (struct us_socket_context_options_t){0});
    uws_socket_behavior_t behavior = {.max_payload_length = 4096, .idle_timeout = 120, .max_backpressure = 1 << 20,
                                      .open = opened, .message = heard};
    uws_ws(0, app, "/*", behavior, NULL);
    uws_app_listen_config_t config = {.port = atoi(arguments[1]), .host = "127.0.0.1"};
    uws_app_listen_with_config(0, app, config, listens, NULL);
    uws_app_run(0, app);
    return 1;
}
