/* AVCaptureDevice and the Objective-C runtime, as far as a program that asks for the microphone
   sees them: the same symbols, calling convention and block layout. `stand_in_status` is how the
   permission stands; a request is answered by `stand_in_answer`. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(void *, bool);
    struct { unsigned long reserved, size; } *descriptor;
};

void *_NSConcreteGlobalBlock[32];
static const char audio[] = "soun";
const void *AVMediaTypeAudio = audio;

long stand_in_status;
bool stand_in_answer;
int stand_in_requests;
static int device;

void *objc_getClass(const char *name) { return strcmp(name, "AVCaptureDevice") ? NULL : &device; }
void *sel_registerName(const char *name) { return strdup(name); }

long objc_msgSend(void *receiver, const char *selector, const void *media, struct block *block) {
    if (receiver != &device || media != audio) return -1;
    if (strcmp(selector, "authorizationStatusForMediaType:") == 0) return stand_in_status;
    if (strcmp(selector, "requestAccessForMediaType:completionHandler:") != 0) return -1;
    if (block->isa != _NSConcreteGlobalBlock || block->flags != 1 << 28) return -1;
    if (block->descriptor->size != sizeof(struct block)) return -1;
    if (stand_in_status == 0) stand_in_status = stand_in_answer ? 3 : 2;
    stand_in_requests++;
    block->invoke(block, stand_in_status == 3);
    return 0;
}
