"""GNS3's appliance files (``.gns3a``): their structure, read and written.

::

    NAME.gns3a                   what a template is, and the name, size and md5 of each image
      qemu {...}                 settings of the template, the same for all versions
      images [...]               every image file of any version
      versions [...]             which images a version has, by the field of the template
      gns3_minivm {...}          ours: how an image is made again; GNS3 ignores it

The schema is the GNS3 registry's, version 4: https://github.com/GNS3/gns3-registry/tree/master/schemas
"""
