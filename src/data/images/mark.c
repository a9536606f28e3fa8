/* mark.c: see mark.h. XMP (ISO 16684-1) is RDF in a packet; in a PNG an iTXt chunk holds it, in a JPEG an APP1 segment that
 * begins with a name of its own. The property is Iptc4xmpExt:DigitalSourceType of the IPTC Photo Metadata Standard, its
 * values a vocabulary, http://cv.iptc.org/newscodes/digitalsourcetype/ */
#include "data/images/mark.h"

#include <stdlib.h>
#include <string.h>

#define PACKET(term)                                                                                                  \
    "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"                                            \
    "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n"                                                                        \
    " <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"                                          \
    "  <rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"\n"           \
    "   Iptc4xmpExt:DigitalSourceType=\"http://cv.iptc.org/newscodes/digitalsourcetype/" term "\"/>\n"                \
    " </rdf:RDF>\n"                                                                                                   \
    "</x:xmpmeta>\n"                                                                                                  \
    "<?xpacket end=\"w\"?>"

const char *im_mark_xmp(im_origin mark)
{
    static const char drawn[] = PACKET(IM_MARK_MODEL);
    static const char composite[] = PACKET(IM_MARK_COMPOSITE);
    return mark == IM_ORIGIN_MODEL ? drawn : mark == IM_ORIGIN_COMPOSITE ? composite : NULL;
}

uint8_t *im_mark_block(im_ctx *c, im_origin mark, size_t *bytes)
{
    static const char name[] = "http://ns.adobe.com/xap/1.0/"; /* with its zero byte                                   */
    const char *xmp = im_mark_xmp(mark);
    *bytes = xmp ? sizeof name + strlen(xmp) : 0;
    uint8_t *block = xmp ? malloc(*bytes) : NULL;
    if (xmp && !block) im_fail(c, "out of memory for what a picture says of its origin");
    if (!block) return NULL;
    memcpy(block, name, sizeof name);
    memcpy(block + sizeof name, xmp, strlen(xmp));
    return block;
}
