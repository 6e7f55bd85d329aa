/* Network interfaces: lo is up, and the cards are eth0...ethN in the order of their PCI addresses. */
#ifndef MINIVM_LINK_H
#define MINIVM_LINK_H

void links_begin(void);

#endif
