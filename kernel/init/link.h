/* Network interfaces: lo is up, and the cards are eth0...ethN in the order of their PCI addresses. */
#ifndef MINIVM_LINK_H
#define MINIVM_LINK_H

void links_begin(void);
/* All cards are switched on, as GNS3 does it in its Docker nodes. */
void links_up(void);

#endif
