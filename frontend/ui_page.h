/* frontend/ui_page.h: the status page, ui/index.html, which the build makes into an array. */
#ifndef PROMSPLIT_FRONTEND_UI_PAGE_H
#define PROMSPLIT_FRONTEND_UI_PAGE_H

#include <stddef.h>

extern const char ui_page[];
extern const size_t ui_page_size; /* bytes, without a final NUL */

#endif
