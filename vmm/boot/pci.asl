// What an operating system must know of the PCI bus: where its configuration space, ports and memory are, and where
// INTA of each device leads (vmm/board/address_map.h). Compiled by iasl.
DefinitionBlock("", "SSDT", 2, "DEJAVM", "PCI", 1)
{
    Name(\PICM, 0)                  // 1: the operating system uses the I/O APIC
    Method(\_PIC, 1) { PICM = Arg0 }

    Scope(\_SB)
    {
        Device(PCI0)
        {
            Name(_HID, EisaId("PNP0A08"))
            Name(_CID, EisaId("PNP0A03"))
            Name(_UID, 0)
            Name(_SEG, 0)
            Name(_BBN, 0)
            Name(_CRS, ResourceTemplate()
            {
                WordBusNumber(ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO(Decode16, 0xCF8, 0xCF8, 1, 8)
                WordIO(ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO(ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory(ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                            0, 0xC0000000, 0xDFFFFFFF, 0, 0x20000000)
                // Where SeaBIOS puts BARs.
                DWordMemory(ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                            0, 0xE0100000, 0xFEBFFFFF, 0, 0x1EB00000)
                QWordMemory(ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                            0, 0x8000000000, 0xFFFFFFFFFF, 0, 0x8000000000)
            })

            // What the operating system may do itself: of PCI Express only the capability structure (bit 4).
            Method(_OSC, 4)
            {
                CreateDWordField(Arg3, 0, STAT)
                If (Arg0 != ToUUID("33DB4D5B-1FF7-401C-9657-7441C03DD766")) { STAT |= 4 }
                ElseIf (Arg1 != 1) { STAT |= 8 }
                Else
                {
                    CreateDWordField(Arg3, 8, CTRL)
                    If (CTRL & ~0x10)
                    {
                        CTRL &= 0x10
                        STAT |= 0x10
                    }
                }
                Return (Arg3)
            }

            // Device n's INTA at pin 16 + n % 4, or at IRQ 5 and 10 of the 8259 pair.
            Method(_PRT, 0)
            {
                Local0 = Package(32) {}
                Local1 = 0
                While (Local1 < 32)
                {
                    If (PICM) { Local2 = 16 + (Local1 & 3) }
                    ElseIf (Local1 & 1) { Local2 = 10 }
                    Else { Local2 = 5 }
                    Local3 = Package(4) { 0, 0, 0, 0 }
                    Local3[0] = (Local1 << 16) | 0xFFFF
                    Local3[3] = Local2
                    Local0[Local1] = Local3
                    Local1++
                }
                Return (Local0)
            }
        }

        // The enhanced configuration space is not free for devices.
        Device(MCFG)
        {
            Name(_HID, EisaId("PNP0C02"))
            Name(_UID, "PCI")
            Name(_CRS, ResourceTemplate() { Memory32Fixed(ReadWrite, 0xE0000000, 0x100000) })
        }
    }
}
