/* A reading library as the agent believes the licensed one to be: same three functions, scripted by files in the
 * folder of its configuration. Ours alone: nothing of it comes from the real library.
 *
 *   api_lec.ini  must be there, else Hn_Init answers 12
 *   read         "code state error" of a reading that fails
 *   card.xml     what a good reading gives
 *   noise        print a name on both outputs
 *   abort        crash in the reading
 *   hang         a FIFO: tell who opens it that the reading has begun, and never come back
 *   calls        written: one line per call
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef NUMBER
#define NUMBER short /* how wide the numbers that the library writes are */
#endif

static char folder[4096];

static FILE *opened(const char *name, const char *mode) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, mode);
}

static int there(const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void note(const char *call, int number) {
    FILE *calls = opened("calls", "a");
    if (calls) {
        fprintf(calls, "%s %d\n", call, number);
        fclose(calls);
    }
}

unsigned short Hn_Init(const char *path, NUMBER *mode, NUMBER *error) {
    snprintf(folder, sizeof folder, "%s", path);
    *mode = -1;
    *error = 0;
    if (!there("api_lec.ini")) {
        *error = -3;
        return 12;
    }
    note("init", 0);
    return 0;
}

#ifndef WITHOUT_READING
unsigned short Hn_LectureVitaleDonneesIdentification(short wait_s, char *text, unsigned NUMBER *length, NUMBER *state,
                                                     NUMBER *error) {
    int code = 0, card_state = 0, failure = 0;
    FILE *file;
    note("read", wait_s);
    if (there("noise")) {
        printf("DURAND\n");
        fflush(stdout);
        fprintf(stderr, "DURAND\n");
    }
    if (there("abort"))
        abort();
    if (there("hang")) {
        char path[4200];
        snprintf(path, sizeof path, "%s/hang", folder);
        close(open(path, O_WRONLY));
        for (;;)
            pause();
    }
    if ((file = opened("read", "r"))) {
        if (fscanf(file, "%d %d %d", &code, &card_state, &failure) != 3)
            code = 999;
        fclose(file);
    }
    *state = (NUMBER)card_state;
    *error = (NUMBER)failure;
    if (code)
        return (unsigned short)code;
    if ((file = opened("card.xml", "rb"))) {
        *length = (unsigned NUMBER)fread(text, 1, *length, file);
        fclose(file);
    }
    return 0;
}
#endif

unsigned short Hn_Finir(NUMBER *error) {
    *error = 0;
    note("finish", 0);
    return 0;
}
