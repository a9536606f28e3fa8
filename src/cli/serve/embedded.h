/* embedded.h: the page and the description of all addresses, carried in the program (embedded.c). */
#ifndef IM_CLI_SERVE_EMBEDDED_H
#define IM_CLI_SERVE_EMBEDDED_H

extern const char im_serve_page[], im_serve_page_end[], im_serve_openapi[], im_serve_openapi_end[];

#endif
