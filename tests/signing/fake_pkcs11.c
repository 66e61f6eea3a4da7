/* A PKCS#11 v2.40 module that does as it is told: what neither SoftHSM2 nor OpenSC can be made to show.

   FAKE_PKCS11 holds words: "C_Sign=abort", "C_Login=0,0x50" (one answer for each call, the last one stays),
   "hang", "flags=0x104" (of the token, beside initialised), "always" (the key asks each time),
   "name=…" (library description, _ for a blank), "version=2.6", "other=0x30" (a second slot whose token answers so).
   FAKE_PKCS11_LOG is a file that gets one line for each call, C_Login with its user, "null" or "code" and length.
   One slot (7) with one token, one private key with CKA_ID 01. A signature is 256 times 5A. No code is ever compared. */

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef struct { unsigned char major, minor; } version;
typedef struct { ulong type; void *value; ulong size; } attribute;
typedef struct { version cryptoki; char maker[32]; ulong flags; char description[32]; version library; } module_info;
typedef struct { char description[64], maker[32]; ulong flags; version hardware, firmware; } slot_info;
typedef struct {
    char label[32], maker[32], model[16], serial[16];
    ulong flags, counts[10];
    version hardware, firmware;
    char time[16];
} token_info;
typedef struct { ulong slot, state, flags, error; } session_info;

enum { OK = 0, NOT_SUPPORTED = 0x54, PRIVATE_KEY = 3, ID = 0x102, CLASS = 0, ALWAYS = 0x202, SIZE = 256 };

static int logged_in, found;

static void note(const char *format, ...) {
    const char *name = getenv("FAKE_PKCS11_LOG");
    char line[200];
    va_list rest;
    int file, size;
    if (!name || (file = open(name, O_WRONLY | O_APPEND | O_CREAT, 0600)) < 0) return;
    va_start(rest, format);
    size = vsnprintf(line, sizeof line, format, rest);
    va_end(rest);
    if (write(file, line, size) != size) abort();
    close(file);
}

static const char *told(const char *word) {
    const char *plan = getenv("FAKE_PKCS11");
    const char *at = plan ? strstr(plan, word) : NULL;
    return at ? at + strlen(word) : NULL;
}

static ulong number(const char *word) {
    const char *value = told(word);
    return value ? strtoul(value, NULL, 0) : 0;
}

static void text(char *to, size_t size, const char *from) {
    size_t length = strcspn(from, " ");
    memset(to, ' ', size);
    memcpy(to, from, length < size ? length : size);
    for (char *at = to; (at = memchr(at, '_', to + size - at)); ) *at = ' ';
}

/* What this call of this function shall answer, or do. */
static ulong turn(const char *name, int count) {
    char word[40];
    const char *answer;
    snprintf(word, sizeof word, "%s=", name);
    answer = told(word);
    if (!answer) return OK;
    while (count-- > 0 && answer[strcspn(answer, ", ")] == ',') answer += strcspn(answer, ", ") + 1;
    if (!strncmp(answer, "abort", 5)) abort();
    while (!strncmp(answer, "hang", 4)) pause();
    return strtoul(answer, NULL, 0);
}

#define TURN(name) do { static int calls; ulong rv; note(#name "\n"); if ((rv = turn(#name, calls++))) return rv; } while (0)

static ulong C_Initialize(void *arguments) { TURN(C_Initialize); return OK; }
static ulong C_Finalize(void *reserved) { TURN(C_Finalize); return OK; }
static ulong C_CloseSession(ulong session) { TURN(C_CloseSession); logged_in = 0; return OK; }
static ulong C_Logout(ulong session) { TURN(C_Logout); logged_in = 0; return OK; }
static ulong C_SignInit(ulong session, void *mechanism, ulong key) { TURN(C_SignInit); return OK; }
static ulong C_FindObjectsFinal(ulong session) { return OK; }
static ulong none(void) { return NOT_SUPPORTED; }

static ulong C_GetInfo(module_info *info) {
    const char *name = told("name="), *library = told("version=");
    TURN(C_GetInfo);
    memset(info, 0, sizeof *info);
    info->cryptoki = (version){2, 40};
    text(info->maker, sizeof info->maker, "tests");
    text(info->description, sizeof info->description, name ? name : "fake");
    if (library) info->library = (version){atoi(library), atoi(library + strcspn(library, ".") + 1)};
    return OK;
}

static ulong C_GetSlotList(unsigned char present, ulong *slots, ulong *count) {
    TURN(C_GetSlotList);
    if (slots) slots[0] = 7;
    *count = 1;
    if (told("other=")) {
        if (slots) slots[1] = 8;
        *count = 2;
    }
    return OK;
}

static ulong C_GetSlotInfo(ulong slot, slot_info *info) {
    memset(info, 0, sizeof *info);
    text(info->description, sizeof info->description, "Fake");
    text(info->maker, sizeof info->maker, "tests");
    info->flags = 1;
    return OK;
}

static ulong C_GetTokenInfo(ulong slot, token_info *info) {
    if (slot == 8 && !told("pulled")) return number("other=");
    TURN(C_GetTokenInfo);
    memset(info, 0, sizeof *info);
    text(info->label, sizeof info->label, "Fake");
    text(info->maker, sizeof info->maker, "tests");
    text(info->serial, sizeof info->serial, slot == 8 ? "99000002" : "99000001");
    memset(info->model, 0, sizeof info->model);
    memcpy(info->model, "IAS", 3); /* padded with NULs, as the Cryptolib does */
    info->flags = 0x400 | number("flags=");
    return OK;
}

static ulong C_OpenSession(ulong slot, ulong flags, void *data, void *notify, ulong *session) {
    if (slot == 8) return number("other=");
    TURN(C_OpenSession);
    *session = 5;
    return OK;
}

static ulong C_GetSessionInfo(ulong session, session_info *info) {
    *info = (session_info){7, logged_in ? 1 : 0, 4, 0};
    return OK;
}

static ulong C_Login(ulong session, ulong user, const char *code, ulong size) {
    note("C_Login user=%lu %s %lu\n", user, code ? "code" : "null", size);
    static int calls;
    ulong rv = turn("C_Login", calls++);
    if (!rv) logged_in = 1;
    return rv;
}

static ulong C_FindObjectsInit(ulong session, attribute *wanted, ulong count) {
    found = 1;
    for (ulong i = 0; i < count; i++) {
        if (wanted[i].type == CLASS) found = found && *(ulong *)wanted[i].value == PRIVATE_KEY;
        if (wanted[i].type == ID) found = found && wanted[i].size == 1 && *(char *)wanted[i].value == 1;
    }
    return OK;
}

static ulong C_FindObjects(ulong session, ulong *objects, ulong most, ulong *count) {
    *count = found && logged_in;
    if (*count) objects[0] = 3;
    found = 0;
    return OK;
}

static ulong C_GetAttributeValue(ulong session, ulong object, attribute *asked, ulong count) {
    for (ulong i = 0; i < count; i++) {
        char value = asked[i].type == ALWAYS ? told("always") != NULL : 1;
        if (asked[i].type != ID && asked[i].type != ALWAYS) {
            asked[i].size = (ulong)-1;
            continue;
        }
        if (asked[i].value) *(char *)asked[i].value = value;
        asked[i].size = 1;
    }
    return OK;
}

static ulong C_Sign(ulong session, char *data, ulong size, char *signature, ulong *length) {
    TURN(C_Sign);
    if (signature) memset(signature, 0x5A, SIZE);
    *length = SIZE;
    return OK;
}

/* CK_FUNCTION_LIST: the places are those of PKCS#11 v2.40, "pkcs11f.h" */
ulong C_GetFunctionList(void **list) {
    static struct { version cryptoki; void *functions[68]; } table = {{2, 40}, {0}};
    void **f = table.functions;
    for (int i = 0; i < 68; i++) f[i] = none;
    f[0] = C_Initialize, f[1] = C_Finalize, f[2] = C_GetInfo, f[3] = C_GetFunctionList, f[4] = C_GetSlotList;
    f[5] = C_GetSlotInfo, f[6] = C_GetTokenInfo, f[12] = C_OpenSession, f[13] = C_CloseSession;
    f[15] = C_GetSessionInfo, f[18] = C_Login, f[19] = C_Logout, f[24] = C_GetAttributeValue;
    f[26] = C_FindObjectsInit, f[27] = C_FindObjects, f[28] = C_FindObjectsFinal, f[42] = C_SignInit, f[43] = C_Sign;
    *list = &table;
    return OK;
}
