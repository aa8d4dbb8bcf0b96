/* bench/load/bench_load.c: makes samples and sends them to a server by remote write, from many senders at once.
 *
 *     bench_load --url=http://127.0.0.1:9095/api/v1/write --series=10000 --scrapes=1440 [--option=N …]
 *
 * The data: --series counters --metric{handler, instance, job, le, zone}, ten values of le for each instance, scraped
 * --scrapes times (0: until SIGTERM) every --interval ms from --start on; each series has a phase of its own and each
 * sample a jitter below --jitter ms, so no two series are scraped together. A sample is 0 to 31 above the one before,
 * or 0 after a reset, about one in 5 000. The same options make the same samples, whoever takes them.
 *
 * Each of --senders threads has its own share of the series and its own connection, and sends requests of --batch
 * samples, --run scrapes of as many series as that makes: 1 is what a Prometheus sends that scrapes many targets. No
 * sender begins a request that is more than --ahead ms of data ahead of the slowest one, since receivers take samples
 * of a limited past only. With --rate samples/s over all senders the requests are spread evenly in time; without it
 * each sender waits for nothing but the answer. Answers of 429 and 5xx are retried, as senders do, and counted; any
 * other that is not 2xx, and an error of the connection, ends the program with status 1.
 *
 * At the end one line of JSON tells samples acknowledged, seconds, requests, retries and the median and 99th percentile
 * of the time that requests took.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>
#include <snappy-c.h>

#define SENDERS_MAX     256
#define LES             10
#define SAMPLE_SIZE     18 /* of a sample in a request: tag, length, value, timestamp of six bytes */
#define LABELS_SIZE_MAX 256
#define RETRY_MS        20
#define ANSWER_SIZE     256

/* What the command line asks for. */
static const char *url, *metric = "m";
static uint64_t series_n = 1000, scrapes_n = 1, interval_ms = 15000, jitter_ms = 1000, senders_n = 4, batch_n = 2000;
static uint64_t run_n = 1, ahead_ms = 600000, start_ms = UINT64_C(1699999200000), samples_per_s, seed = 1;

static const struct {
    const char *name;
    uint64_t *value;
    uint64_t least, most;
} numbers[] = {
    {"series", &series_n, 1, 100000000},
    {"scrapes", &scrapes_n, 0, UINT32_MAX},
    {"interval", &interval_ms, 1, 86400000},
    {"jitter", &jitter_ms, 1, 86400000},
    {"senders", &senders_n, 1, SENDERS_MAX},
    {"batch", &batch_n, 1, 1000000},
    {"run", &run_n, 1, 1000000},
    {"ahead", &ahead_ms, 1, UINT32_MAX},
    {"start", &start_ms, UINT64_C(1) << 35, (UINT64_C(1) << 42) - 1}, /* timestamps whose varint has six bytes */
    {"rate", &samples_per_s, 0, UINT32_MAX},
    {"seed", &seed, 0, UINT32_MAX},
};
#define NUMBERS_N (sizeof numbers / sizeof *numbers)

static volatile sig_atomic_t stopping;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, why);
    exit(1);
}

static void *must_have(void *memory)
{
    if (!memory)
        fail("memory", strerror(ENOMEM));
    return memory;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_s(double s)
{
    if (s > 0)
        nanosleep(&(struct timespec){(time_t)s, (long)((s - (double)(time_t)s) * 1e9)}, NULL);
}

/* --- series --- */

struct series {
    size_t labels_at, labels_size; /* its encoded labels, in the sender's text */
    uint64_t random;
    uint64_t phase_ms;
    double value;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t put_varint(uint8_t *to, uint64_t n)
{
    size_t size = 0;
    for (; n > 0x7f; n >>= 7)
        to[size++] = (uint8_t)(n | 0x80);
    to[size++] = (uint8_t)n;
    return size;
}

/* TimeSeries.labels, one Label; names and values here are shorter than 64 bytes. */
static size_t put_label(uint8_t *to, const char *name, const char *value)
{
    size_t name_n = strlen(name), value_n = strlen(value), size = 0;
    to[size++] = 0x0a;
    to[size++] = (uint8_t)(name_n + value_n + 4);
    to[size++] = 0x0a;
    to[size++] = (uint8_t)name_n;
    memcpy(to + size, name, name_n);
    size += name_n;
    to[size++] = 0x12;
    to[size++] = (uint8_t)value_n;
    memcpy(to + size, value, value_n);
    return size + value_n;
}

static size_t put_labels(uint8_t *to, uint64_t n)
{
    static const char *const les[LES] = {"0.005", "0.01", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf"};
    uint64_t target = n / LES;
    char handler[32], instance[32], zone[32];
    snprintf(handler, sizeof handler, "/api/%" PRIu64, target % 100);
    snprintf(instance, sizeof instance, "host-%06" PRIu64 ":9100", target);
    snprintf(zone, sizeof zone, "zone-%" PRIu64, target % 5);
    size_t size = put_label(to, "__name__", metric);
    size += put_label(to + size, "handler", handler);
    size += put_label(to + size, "instance", instance);
    size += put_label(to + size, "job", "bench");
    size += put_label(to + size, "le", les[n % LES]);
    return size + put_label(to + size, "zone", zone);
}

static void series_init(struct series *series, uint64_t n)
{
    series->random = (n + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed * UINT64_C(0xd1342543de82ef95);
    for (int i = 0; i < 8; i++) /* neighbours begin alike */
        next_random(&series->random);
    uint64_t room = interval_ms > 2 * jitter_ms ? interval_ms - 2 * jitter_ms : 1;
    series->phase_ms = next_random(&series->random) % room;
    series->value = (double)(next_random(&series->random) % 10000);
}

static void put_sample(uint8_t *to, struct series *series, uint64_t scrape)
{
    uint64_t bits = next_random(&series->random) >> 11;
    series->value = bits % 5003 == 0 ? 0 : series->value + (double)(bits >> 13 & 31);
    uint64_t timestamp = start_ms + scrape * interval_ms + series->phase_ms + (bits >> 18) % jitter_ms;
    memcpy(to, (uint8_t[]){0x12, SAMPLE_SIZE - 2, 0x09}, 3);
    memcpy(to + 3, &series->value, sizeof series->value); /* little-endian, as the machines this runs on */
    to[11] = 0x10;
    put_varint(to + 12, timestamp);
}

/* --- senders --- */

struct sender {
    pthread_t thread;
    CURL *curl;
    struct series *series;
    uint64_t series_n;
    uint8_t *labels, *body;
    char *packed;
    size_t packed_size_max;
    char answer[ANSWER_SIZE]; /* beginning of the last one */
    size_t answer_n;
    uint64_t samples_n, retries_n, requests_n;
    float *took_ms; /* of each request */
    size_t took_room;
    uint64_t time_ms; /* of the request under way, under `progress`; UINT64_MAX when done */
};

static struct sender senders[SENDERS_MAX];
static pthread_mutex_t progress = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static double began_s;

static size_t keep_answer(char *data, size_t size, size_t n, void *arg)
{
    struct sender *sender = arg;
    size_t room = ANSWER_SIZE - 1 - sender->answer_n, take = size * n < room ? size * n : room;
    memcpy(sender->answer + sender->answer_n, data, take);
    sender->answer_n += take;
    sender->answer[sender->answer_n] = 0;
    return size * n;
}

static void sender_init(struct sender *sender, uint64_t first, uint64_t n, struct curl_slist *headers)
{
    uint64_t run = scrapes_n && scrapes_n < run_n ? scrapes_n : run_n;
    size_t body_size = (size_t)(batch_n + run) * (SAMPLE_SIZE + LABELS_SIZE_MAX), at = 0;
    *sender = (struct sender){.series_n = n};
    sender->series = must_have(calloc(n ? n : 1, sizeof *sender->series));
    sender->labels = must_have(malloc((size_t)n * LABELS_SIZE_MAX + 1));
    sender->body = must_have(malloc(body_size));
    sender->packed_size_max = snappy_max_compressed_length(body_size);
    sender->packed = must_have(malloc(sender->packed_size_max));
    for (uint64_t i = 0; i < n; i++) {
        struct series *series = &sender->series[i];
        series_init(series, first + i);
        series->labels_at = at;
        series->labels_size = put_labels(sender->labels + at, first + i);
        at += series->labels_size;
    }
    sender->labels = must_have(realloc(sender->labels, at + 1));
    sender->curl = must_have(curl_easy_init());
    curl_easy_setopt(sender->curl, CURLOPT_URL, url);
    curl_easy_setopt(sender->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(sender->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(sender->curl, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(sender->curl, CURLOPT_WRITEDATA, sender);
}

/* Waits until no sender is too far behind this one. */
static void sender_begins(struct sender *sender, uint64_t time_ms)
{
    pthread_mutex_lock(&progress);
    sender->time_ms = time_ms;
    pthread_cond_broadcast(&moved);
    for (;;) {
        uint64_t slowest_ms = UINT64_MAX;
        for (uint64_t i = 0; i < senders_n; i++)
            slowest_ms = senders[i].time_ms < slowest_ms ? senders[i].time_ms : slowest_ms;
        if (time_ms <= slowest_ms || time_ms - slowest_ms <= ahead_ms)
            break;
        pthread_cond_wait(&moved, &progress);
    }
    pthread_mutex_unlock(&progress);
}

/* Scrapes [scrape, scrape + run) of series [from, to) as a WriteRequest; its size. */
static size_t sender_encode(struct sender *sender, uint64_t from, uint64_t to, uint64_t scrape, uint64_t run)
{
    uint8_t *at = sender->body;
    for (uint64_t i = from; i < to; i++) {
        struct series *series = &sender->series[i];
        *at++ = 0x0a; /* WriteRequest.timeseries */
        at += put_varint(at, series->labels_size + run * SAMPLE_SIZE);
        memcpy(at, sender->labels + series->labels_at, series->labels_size);
        at += series->labels_size;
        for (uint64_t k = 0; k < run; k++, at += SAMPLE_SIZE)
            put_sample(at, series, scrape + k);
    }
    return (size_t)(at - sender->body);
}

static void sender_notes_time(struct sender *sender, double took_s)
{
    if (sender->requests_n == sender->took_room) {
        sender->took_room = sender->took_room ? 2 * sender->took_room : 64;
        sender->took_ms = must_have(realloc(sender->took_ms, sender->took_room * sizeof *sender->took_ms));
    }
    sender->took_ms[sender->requests_n++] = (float)(took_s * 1e3);
}

/* Sends the body until it is acknowledged. */
static void sender_sends(struct sender *sender, size_t size)
{
    size_t packed_size = sender->packed_size_max;
    if (snappy_compress((const char *)sender->body, size, sender->packed, &packed_size) != SNAPPY_OK)
        fail("snappy", "cannot compress");
    curl_easy_setopt(sender->curl, CURLOPT_POSTFIELDS, sender->packed);
    curl_easy_setopt(sender->curl, CURLOPT_POSTFIELDSIZE, (long)packed_size);
    double first_s = now_s();
    for (;;) {
        long status = 0;
        sender->answer_n = 0;
        CURLcode code = curl_easy_perform(sender->curl);
        if (code != CURLE_OK)
            fail(url, curl_easy_strerror(code));
        curl_easy_getinfo(sender->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status / 100 == 2)
            break;
        if (status / 100 != 5 && status != 429)
            fail("refused", sender->answer);
        sender->retries_n++;
        sleep_s(RETRY_MS / 1e3);
    }
    sender_notes_time(sender, now_s() - first_s);
}

static void *sender_run(void *arg)
{
    struct sender *sender = arg;
    uint64_t series_per_request = batch_n / run_n ? batch_n / run_n : 1;
    for (uint64_t scrape = 0; !stopping && (scrapes_n == 0 || scrape < scrapes_n); scrape += run_n) {
        uint64_t run = scrapes_n && scrapes_n - scrape < run_n ? scrapes_n - scrape : run_n;
        for (uint64_t from = 0; !stopping && from < sender->series_n; from += series_per_request) {
            uint64_t left = sender->series_n - from, n = left < series_per_request ? left : series_per_request;
            sender_begins(sender, start_ms + scrape * interval_ms);
            if (samples_per_s)
                sleep_s(began_s + (double)(sender->samples_n * senders_n) / (double)samples_per_s - now_s());
            sender_sends(sender, sender_encode(sender, from, from + n, scrape, run));
            sender->samples_n += n * run;
        }
    }
    sender_begins(sender, UINT64_MAX);
    return NULL;
}

/* --- program --- */

static void stop(int signal_number)
{
    stopping = 1;
}

static void read_options(int argc, char **argv)
{
    struct option options[NUMBERS_N + 3] = {{"url", required_argument, NULL, 'u'},
                                            {"metric", required_argument, NULL, 'm'}};
    for (size_t i = 0; i < NUMBERS_N; i++)
        options[i + 2] = (struct option){numbers[i].name, required_argument, NULL, (int)(256 + i)};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'u') {
            url = optarg;
        } else if (c == 'm') {
            metric = optarg;
        } else if (c >= 256) {
            char *end;
            uint64_t n = strtoull(optarg, &end, 10);
            if (end == optarg || *end || n < numbers[c - 256].least || n > numbers[c - 256].most)
                fail(numbers[c - 256].name, "not a number in range");
            *numbers[c - 256].value = n;
        } else {
            exit(2);
        }
    }
    if (!url || strlen(metric) > 60 || optind < argc)
        fail("usage", "bench_load --url=URL [--metric=NAME] [--series=N …], as its source says at the top");
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report(double took_s)
{
    uint64_t samples_n = 0, requests_n = 0, retries_n = 0, at = 0;
    for (uint64_t i = 0; i < senders_n; i++)
        requests_n += senders[i].requests_n;
    float *took_ms = must_have(malloc((requests_n + 1) * sizeof *took_ms));
    took_ms[0] = 0;
    for (uint64_t i = 0; i < senders_n; i++) {
        samples_n += senders[i].samples_n;
        retries_n += senders[i].retries_n;
        if (senders[i].requests_n)
            memcpy(took_ms + at, senders[i].took_ms, senders[i].requests_n * sizeof *took_ms);
        at += senders[i].requests_n;
    }
    qsort(took_ms, requests_n, sizeof *took_ms, compare_floats);
    printf("{\"samples\": %" PRIu64 ", \"seconds\": %.6f, \"requests\": %" PRIu64 ", \"retries\": %" PRIu64
           ", \"median_ms\": %.3f, \"p99_ms\": %.3f}\n",
           samples_n, took_s, requests_n, retries_n, (double)took_ms[requests_n / 2],
           (double)took_ms[requests_n * 99 / 100]);
    free(took_ms);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    signal(SIGTERM, stop);
    curl_global_init(CURL_GLOBAL_ALL);
    struct curl_slist *headers = NULL;
    static const char *const lines[] = {"Content-Type: application/x-protobuf", "Content-Encoding: snappy",
                                        "X-Prometheus-Remote-Write-Version: 0.1.0", "Expect:"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        headers = must_have(curl_slist_append(headers, lines[i]));
    if (senders_n > series_n)
        senders_n = series_n;
    for (uint64_t i = 0; i < senders_n; i++) {
        uint64_t first = series_n * i / senders_n, end = series_n * (i + 1) / senders_n;
        sender_init(&senders[i], first, end - first, headers);
    }
    began_s = now_s();
    for (uint64_t i = 0; i < senders_n; i++)
        if (pthread_create(&senders[i].thread, NULL, sender_run, &senders[i]))
            fail("pthread_create", strerror(errno));
    for (uint64_t i = 0; i < senders_n; i++)
        pthread_join(senders[i].thread, NULL);
    report(now_s() - began_s);
    return 0;
}
